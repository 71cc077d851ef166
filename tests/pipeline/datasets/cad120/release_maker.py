"""A small release in the format of the re-annotation of CAD-120: 2 subjects, 3 videos, 5 clips."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.datasets.cad120.knowledge import Knowledge, read_knowledge

NUM_FRAMES = 12
VIDEOS = {
    "0001": ("Subject1", "drinking"),
    "0002": ("Subject1", "opening"),
    "0003": ("Subject2", "drinking"),
}
CLIPS = """Subject1, drinking, 0001, 1, 8, pick
Subject1, drinking, 0001, 7, 12, drink
Subject1, opening, 0002, 1, 12, open

Subject2, drinking, 0003, 1, 4, null
Subject2, drinking, 0003, 2, 9, pick
"""
KNOWLEDGE_FILES = {
    "action_list.txt": "null\nopen\npick\ndrink\n",
    "object_list.txt": "hand\nhead\ncup\nmedicine-box",
    "attribute_list.txt": "closed\nopen\n",
    "relation_list.txt": "holding\nnot_holding\ncontacting\napart\n",
    "object_attribute_list.txt": "cup; null\nmedicine-box; closed, open\n",
    "object_relation_list.txt": (
        "hand; holding; not_holding; cup, medicine-box\nhead; contacting; apart; cup\n"
    ),
    "act_attr_list.txt": "open; closed; open; medicine-box\n",
    "act_rel_list.txt": (
        "pick; not_holding; holding; hand; cup, medicine-box\ndrink; apart; contacting; head; cup\n"
    ),
}
SPLITS = {
    "testlist01.txt": "Subject1\n",
    "trainlist01.txt": "Subject2\n",
    "testlist02.txt": "Subject2\n",
    "trainlist02.txt": "Subject1\n",
}


def changing(before: str, after: str, first: int, num_frames: int = NUM_FRAMES) -> list[str]:
    """Return states that change in the frame `first`, which is counted from 0."""
    return [before] * first + [after] * (num_frames - first)


def video_tree(video_id: str) -> dict[str, Any]:
    """Return the JSON of a video. The hand is invisible in the frames 4 and 5, counted from 0."""
    subject, activity = VIDEOS[video_id]
    target = "medicine-box_1" if activity == "opening" else "cup_1"
    locations = {
        name: [[x + i, 10, 20, 30] for i in range(NUM_FRAMES)]
        for x, name in enumerate(("head_1", "hand_1", target))
    }
    locations["hand_1"][4:6] = [[0, 0, 0, 0], [700, 800, -60, -70]]
    relations = {("hand_1", target): changing("not_holding", "holding", 5)}
    attributes = {}
    if activity == "opening":
        attributes[target] = changing("closed", "open", 6)
    else:
        relations["head_1", target] = changing("apart", "contacting", 9)
    return {
        "person_id": subject,
        "video_label": activity,
        "video_id": video_id,
        "locations": [{"obj_id": k, "loc_list": v} for k, v in locations.items()],
        "attributes": [{"obj_id": k, "attr_list": v} for k, v in attributes.items()],
        "relations": [{"obj_ids": list(k), "rel_list": v} for k, v in relations.items()],
    }


def video_path(root: Path, video_id: str) -> Path:
    return root.joinpath("all", *VIDEOS[video_id], f"{video_id}.json")


def write_video(root: Path, video_id: str, tree: Any) -> Path:
    """Write JSON, or text or bytes as they are, to the file of a video."""
    path = video_path(root, video_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = tree if isinstance(tree, str | bytes) else json.dumps(tree)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def write_release(root: Path) -> Path:
    """Write a valid release to a new folder."""
    for name, files in (("knowledge", KNOWLEDGE_FILES), ("splits", SPLITS)):
        (root / name).mkdir(parents=True)
        for file, text in files.items():
            (root / name / file).write_text(text)
    (root / "video_clips.txt").write_text(CLIPS)
    for video_id in VIDEOS:
        write_video(root, video_id, video_tree(video_id))
    return root


def frame_folder(root: Path, video_id: str) -> Path:
    subject, activity = VIDEOS[video_id]
    return root / f"{subject}_rgbd_images" / activity / video_id


def write_frames(root: Path) -> None:
    """Write the frames of all videos to a folder. The red value of a frame is its number."""
    for video_id in VIDEOS:
        folder = frame_folder(root, video_id)
        folder.mkdir(parents=True)
        for number in range(1, NUM_FRAMES + 1):
            pixels = np.full((48, 64, 3), (number, 0, 0), np.uint8)
            Image.fromarray(pixels).save(folder / f"RGB_{number}.png")
            (folder / f"Depth_{number}.png").write_bytes(b"no image")


def write_knowledge(folder: Path, **changed: str) -> Path:
    """Write the files of `knowledge`, some of them with another text."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in KNOWLEDGE_FILES.items():
        (folder / name).write_text(changed.get(name.removesuffix(".txt"), text))
    return folder


def small_knowledge(folder: Path) -> Knowledge:
    return read_knowledge(write_knowledge(folder / "knowledge"))
