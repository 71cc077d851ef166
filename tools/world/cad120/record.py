"""Frames of one video, and its annotations as JSON."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipeline.runtime.files import write_atomically
from tools.world.cad120.clips import find_clips
from tools.world.cad120.performance import ItemState
from tools.world.cad120.plot import write_script
from tools.world.cad120.render import HANDS, HEAD, Box, Renderer
from tools.world.cad120.rules import MICROWAVE, Rules, load_cad120
from tools.world.cad120.script import Script, World

#: Version of the generator; two versions draw different worlds from the same settings.
VERSION = 1
#: Every tenth video has depth images, which no reader uses.
_DEPTH_EVERY, _DEPTH_SIZE = 10, (6, 8)
_COMPRESSION = [cv2.IMWRITE_PNG_COMPRESSION, 3]


def make_video(world: World, subject: str, index: int, frames: Path, records: Path) -> str:
    """Write the frames of one video and its record unless both exist, and return its id.

    Args:
        world: settings of the world.
        subject: name of the subject.
        index: number of the video of the subject.
        frames: folder of the frames, `SUBJECT_rgbd_images/ACTIVITY/ID/RGB_N.png` with N from 1.
        records: folder of the records, which are named `ID.json`.
    """
    rules = load_cad120()
    script = write_script(rules, world, subject, index)
    record = records / f"{script.video_id}.json"
    folder = frames / f"{subject}_rgbd_images" / script.activity / script.video_id
    if not (folder.is_dir() and record.is_file()):
        boxes = _write_frames(Renderer(rules, script), folder, index % _DEPTH_EVERY == 3)
        write_atomically(record, json.dumps(_record(rules, script, boxes)).encode())
    return script.video_id


def _write_frames(renderer: Renderer, folder: Path, has_depth: bool) -> list[dict[str, Box]]:
    """Write all frames into a temporary folder, rename it, and return the boxes of each frame."""
    temporary = folder.with_name(f".{folder.name}.tmp")
    for left in (temporary, folder):
        shutil.rmtree(left, ignore_errors=True)
    temporary.mkdir(parents=True)
    boxes = []
    depth = _png(np.full(_DEPTH_SIZE, 1000, np.uint16))
    for index in range(len(renderer.script.frames)):
        frame = renderer.frame(index)
        boxes.append(frame.boxes)
        image = _png(cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))
        (temporary / f"RGB_{index + 1}.png").write_bytes(image)
        if has_depth:
            (temporary / f"Depth_{index + 1}.png").write_bytes(depth)
    temporary.rename(folder)
    return boxes


def _png(image: np.ndarray) -> bytes:
    done, data = cv2.imencode(".png", image, _COMPRESSION)
    assert done
    return data.tobytes()


def _record(rules: Rules, script: Script, boxes: list[dict[str, Box]]) -> dict[str, Any]:
    changes = [
        {
            "frame": event.frame + 1,
            "action": event.action,
            "object": script.items[event.item].id,
            "hand": HANDS[event.hand],
        }
        for event in script.events
    ]
    return {
        "annotation": {
            "person_id": script.subject,
            "video_label": script.activity,
            "video_id": script.video_id,
            "locations": [
                {"obj_id": name, "loc_list": [frame[name] for frame in boxes]} for name in boxes[0]
            ],
            "attributes": _attributes(rules, script),
            "relations": _relations(rules, script),
        },
        "clips": [[clip.first + 1, clip.last + 1, clip.action] for clip in find_clips(script)],
        "truth": {"rate": script.rate, "frames": len(script.frames), "changes": changes},
    }


def _attributes(rules: Rules, script: Script) -> list[dict[str, Any]]:
    names = rules.attributes.names
    return [
        {
            "obj_id": item.id,
            "attr_list": [names[shot.items[row].is_open] for shot in script.frames],
        }
        for row, item in enumerate(script.items)
        if item.object in rules.attributes.of
    ]


def _relations(rules: Rules, script: Script) -> list[dict[str, Any]]:
    holds: dict[str, tuple[str, Callable[[ItemState], bool]]] = {
        HANDS[0]: ("hand", lambda state: state.holder == 0),
        HANDS[1]: ("hand", lambda state: state.holder == 1),
        HEAD: ("head", lambda state: state.at_mouth),
    }
    for item in script.items:
        if item.object == MICROWAVE:
            holds[item.id] = (MICROWAVE, lambda state: state.inside)
    found = []
    for subject, (kind, is_true) in holds.items():
        yes, no = rules.relations[kind].names
        for row, item in enumerate(script.items):
            if item.object in rules.relations[kind].of:
                said = [yes if is_true(shot.items[row]) else no for shot in script.frames]
                found.append({"obj_ids": [subject, item.id], "rel_list": said})
    return found
