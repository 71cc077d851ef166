"""Two annotated videos in the formats of Charades and Action Genome."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from tests.pipeline.video_maker import write_clip

HEADER = "id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length"


def csv_row(video_id: str, actions: str, length: str = "1.60") -> str:
    return f'{video_id},S001,Kitchen,5,6,Yes,"A, quoted script",cup,d,{actions},{length}'


def object_entry(**changes: Any) -> dict[str, Any]:
    return {
        "class": "cup/glass/bottle",
        "bbox": (10.0, 8.0, 20.0, 16.0),
        "attention_relationship": ["looking_at"],
        "spatial_relationship": ["in_front_of", "beneath"],
        "contacting_relationship": ["holding"],
        "visible": True,
        "metadata": {"set": "train", "tag": "A0001.mp4/cup/000003"},
    } | changes


def hidden_entry() -> dict[str, Any]:
    keys = ("bbox", "attention_relationship", "spatial_relationship", "contacting_relationship")
    return object_entry(**{"class": "box", "visible": False}, **dict.fromkeys(keys))


def person_entry(size: tuple[int, int] = (64, 48)) -> dict[str, Any]:
    return {
        "bbox": np.array([[2.0, 4.0, 40.0, 47.0]], dtype=np.float32),
        "bbox_score": np.array([0.9], dtype=np.float32),
        "bbox_size": size,
        "bbox_mode": "xyxy",
        "keypoints": np.zeros((1, 17, 3), dtype=np.float32),
        "keypoints_logits": np.zeros((1, 17), dtype=np.float32),
    }


def write_annotations(
    folder: Path, objects: dict[str, Any], persons: dict[str, Any], rows: list[str]
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "Charades_v1_train.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    classes = "".join(f"c{i:03d} doing thing {i}\n" for i in range(5))
    (folder / "Charades_v1_classes.txt").write_text(classes)
    (folder / "object_bbox_and_relationship.pkl").write_bytes(pickle.dumps(objects))
    (folder / "person_bbox.pkl").write_bytes(pickle.dumps(persons))
    return folder


def write_dataset(root: Path) -> tuple[Path, Path]:
    """Write two annotated videos and return the folders of the videos and of the annotations.

    A0001 has three annotated frames, and B0002 has two.
    """
    videos = root / "videos"
    videos.mkdir(parents=True)
    objects, persons = {}, {}
    for video_id, frames in (("A0001", (3, 11, 30)), ("B0002", (1, 40))):
        write_clip(videos / f"{video_id}.mp4")
        for number in frames:
            key = f"{video_id}.mp4/{number:06d}.png"
            objects[key] = [object_entry(), hidden_entry()]
            persons[key] = person_entry()
    rows = [csv_row("A0001", "c001 0.00 1.00;c003 0.50 1.90"), csv_row("B0002", "")]
    return videos, write_annotations(root / "annotations", objects, persons, rows)
