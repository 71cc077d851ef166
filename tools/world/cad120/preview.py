"""Contact sheets of frames with their boxes, relations and actions."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from tools.world.cad120.clips import Clip, find_clips
from tools.world.cad120.plot import write_script
from tools.world.cad120.render import HANDS, HEAD, INVISIBLE, Frame, Renderer
from tools.world.cad120.rules import load_cad120
from tools.world.cad120.script import Script, World

_COLUMNS, _ROWS = 4, 4
_HAND, _HEAD, _OBJECT, _TEXT = (220, 40, 40), (40, 60, 220), (20, 150, 40), (40, 40, 40)
_STRIP = 26


def write_previews(world: World, num: int, folder: Path) -> Iterator[Path]:
    """Write a PNG contact sheet of each of `num` videos and yield its path.

    The videos are those of all subjects in turn.
    """
    rules = load_cad120()
    folder.mkdir(parents=True, exist_ok=True)
    subjects = [*rules.subjects]
    for number in range(num):
        subject = subjects[number % len(subjects)]
        script = write_script(rules, world, subject, number // len(subjects))
        path = folder / f"{script.subject}_{script.activity}_{script.video_id}.png"
        sheet = _sheet(Renderer(rules, script), find_clips(script))
        done, data = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
        assert done
        path.write_bytes(data.tobytes())
        yield path


def _sheet(renderer: Renderer, clips: list[Clip]) -> np.ndarray:
    """Draw frames in rows and return an (H, W, 3) uint8 RGB image."""
    script = renderer.script
    chosen = np.linspace(0, len(script.frames) - 1, _COLUMNS * _ROWS).round().astype(int).tolist()
    tiles = [_tile(script, clips, renderer.frame(index), index) for index in chosen]
    rows = [np.hstack(tiles[r * _COLUMNS : (r + 1) * _COLUMNS]) for r in range(_ROWS)]
    return np.vstack(rows)


def _tile(script: Script, clips: list[Clip], frame: Frame, index: int) -> np.ndarray:
    image = frame.image.copy()
    for name, (x, y, w, h) in frame.boxes.items():
        if (x, y, w, h) != INVISIBLE:
            colour = _HAND if name in HANDS else _HEAD if name == HEAD else _OBJECT
            cv2.rectangle(image, (x, y), (x + w - 1, y + h - 1), colour, 1)
    states = zip(script.items, script.frames[index].items, strict=True)
    said = [
        f"{item.id}{' held' * (state.holder is not None)}{' at mouth' * state.at_mouth}"
        f"{' inside' * state.inside}{' open' * state.is_open}"
        for item, state in states
        if state.holder is not None or state.inside or state.is_open
    ]
    now = [clip.action for clip in clips if clip.first <= index <= clip.last]
    strip = np.full((_STRIP, image.shape[1], 3), 250, np.uint8)
    for line, text in enumerate((f"RGB_{index + 1}  {', '.join(now)}", "; ".join(said))):
        where = (3, 10 + 12 * line)
        cv2.putText(strip, text, where, cv2.FONT_HERSHEY_SIMPLEX, 0.33, _TEXT, 1, cv2.LINE_AA)
    return np.vstack([image, strip])
