"""Videos and annotations in the formats and under the names of Charades and Action Genome."""

import csv
import io
import pickle
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from pipeline.annotations.charades import COLUMNS
from pipeline.files import write_atomically
from pipeline.vocabulary import Vocabulary, normalize_name
from tools.world.render import Frame, render
from tools.world.rules import Rules
from tools.world.script import Script

#: Seconds between annotated frames.
ANNOTATE_EVERY_S = 0.25
#: Without mbtree=0 the same frames gave 13 different files in 16 runs (libx264 of PyAV 18.1).
_ENCODER: dict[str, str] = {
    "crf": "20",
    "threads": "1",
    "preset": "veryfast",
    "x264-params": "mbtree=0",
}
_GROUPS = ("attention", "spatial", "contacting")


def annotated_frames(script: Script) -> list[int]:
    """0-based numbers of the frames that are annotated."""
    step = ANNOTATE_EVERY_S * script.fps
    num = int(script.num_frames / step)
    return [int((i + 0.5) * step) for i in range(num)]


def write_video(script: Script, path: Path) -> dict[int, Frame]:
    """Encode H.264; returns the annotated frames by number, drawn once."""
    wanted = set(annotated_frames(script))
    kept: dict[int, Frame] = {}
    temporary = path.with_name(f".{path.stem}.tmp.mp4")
    with av.open(str(temporary), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=script.fps)
        stream.width, stream.height = script.size
        stream.pix_fmt = "yuv420p"
        options: dict[str, str] = _ENCODER | {"g": str(script.fps)}
        stream.options = dict(options)
        for number in range(script.num_frames):
            frame = render(script, number / script.fps)
            if number in wanted:
                kept[number] = frame
            picture = av.VideoFrame.from_ndarray(frame.image, format="rgb24")
            picture.pts, picture.time_base = number, Fraction(1, script.fps)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    temporary.rename(path)
    return kept


class ReleaseWriter:
    """Collects what is known of the videos and writes the annotation files."""

    def __init__(self, rules: Rules, vocabulary: Vocabulary) -> None:
        self.rules, self.vocabulary = rules, vocabulary
        self._objects: dict[str, list[dict[str, Any]]] = {}
        self._persons: dict[str, dict[str, Any]] = {}
        self._scripts: list[Script] = []

    def add(self, script: Script, frames: dict[int, Frame]) -> None:
        """Add a video and its annotated frames."""
        self._scripts.append(script)
        for number, frame in frames.items():
            key = f"{script.video_id}.mp4/{number + 1:06d}.png"
            self._objects[key] = [
                self._entry(script, key, t) | _seen(frame.objects[i], self._said(frame, i))
                for i, t in enumerate(script.threads)
            ]
            self._persons[key] = _person(frame, script.size)

    def write(self, folder: Path) -> None:
        """Write every file of both releases below a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        files = {
            "Charades_v1_classes.txt": "".join(
                f"c{i:03d} {action.name}\n" for i, action in enumerate(self.rules.actions)
            ),
            "object_classes.txt": _lines(normalize_name(n) for n in self.vocabulary.objects),
            "relationship_classes.txt": _lines(
                name.replace("_", "") for name in self.vocabulary.predicates
            ),
            "frame_list.txt": _lines(self._objects),
            "Charades_v1_train.csv": self._table("train"),
            "Charades_v1_test.csv": self._table("test"),
        }
        for name, text in files.items():
            write_atomically(folder / name, text.encode())
        for name, tree in (
            ("object_bbox_and_relationship.pkl", self._objects),
            ("person_bbox.pkl", self._persons),
        ):
            write_atomically(folder / name, pickle.dumps(tree, protocol=4))

    def _entry(self, script: Script, key: str, thread: Any) -> dict[str, Any]:
        name = thread.rule.name
        video, number = key.removesuffix(".png").split("/")
        tag = f"{video}/{normalize_name(name)}/{number}"
        return {"class": name, "metadata": {"tag": tag, "set": script.split}}

    def _said(self, frame: Frame, thread: int) -> dict[str, tuple[str, ...]]:
        return self.rules.states[frame.states[thread]]

    def _table(self, split: str) -> str:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for script in (s for s in self._scripts if s.split == split):
            actions = script.actions(self.rules)
            names = [self.rules.actions[index].name for index, _, _ in actions]
            labels = ";".join(f"c{c:03d} {a:.2f} {b:.2f}" for c, a, b in actions)
            objects = ";".join(sorted({t.rule.name.split("/")[0] for t in script.threads}))
            said = f"A person in the {script.scene.lower()}: {', '.join(names).lower() or 'idle'}."
            row = (script.video_id, script.subject, script.scene, "7", "7", "Yes", said)
            writer.writerow((*row, objects, said, labels, f"{script.length_s:.2f}"))
        return text.getvalue()


def _seen(box: np.ndarray | None, said: dict[str, tuple[str, ...]]) -> dict[str, Any]:
    if box is None:
        hidden: dict[str, Any] = {f"{group}_relationship": None for group in _GROUPS}
        return hidden | {"bbox": None, "visible": False}
    x1, y1, x2, y2 = (float(v) for v in box)
    relations: dict[str, Any] = {f"{group}_relationship": list(said[group]) for group in _GROUPS}
    return relations | {"bbox": (x1, y1, x2 - x1, y2 - y1), "visible": True}


def _person(frame: Frame, size: tuple[int, int]) -> dict[str, Any]:
    return {
        "bbox": frame.person.astype(np.float32)[None],
        "bbox_score": np.ones(1, dtype=np.float32),
        "bbox_size": size,
        "bbox_mode": "xyxy",
        "keypoints": np.zeros((1, 17, 3), dtype=np.float32),
        "keypoints_logits": np.zeros((1, 17), dtype=np.float32),
    }


def _lines(names: Any) -> str:
    rows: Sequence[str] = list(names)
    return "".join(f"{name}\n" for name in rows)
