"""Contact sheets of frames with their boxes, relations and actions."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from tools.world.labels import Action, find_actions
from tools.world.plot import write_script
from tools.world.render import Frame, Renderer
from tools.world.rules import Rules, load_rules
from tools.world.script import Script, Settings

_COLUMNS, _ROWS = 3, 2
_PERSON, _TAKES_PART, _CLUTTER = (220, 40, 40), (20, 150, 40), (130, 130, 130)
_STRIP = 44


def write_previews(settings: Settings, num: int, folder: Path) -> Iterator[Path]:
    """Write a PNG contact sheet of each of the first `num` training videos and yield its path."""
    rules = load_rules()
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(num):
        script = write_script(rules, settings, "train", index)
        path = folder / f"{script.video_id}.png"
        sheet = contact_sheet(rules, script, find_actions(rules, script, settings.classes))
        done, data = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
        assert done
        path.write_bytes(data.tobytes())
        yield path


def contact_sheet(rules: Rules, script: Script, actions: list[Action]) -> np.ndarray:
    """Draw six frames in two rows and return an (H, W, 3) uint8 RGB image."""
    renderer = Renderer(rules, script)
    num = _COLUMNS * _ROWS
    times = [script.length_s * (i + 0.5) / num for i in range(num)]
    tiles = [_tile(rules, script, actions, renderer.frame(t, annotate=True), t) for t in times]
    rows = [np.hstack(tiles[r * _COLUMNS : (r + 1) * _COLUMNS]) for r in range(_ROWS)]
    return np.vstack(rows)


def _tile(
    rules: Rules, script: Script, actions: list[Action], frame: Frame, time_s: float
) -> np.ndarray:
    image = frame.image.copy()
    height, width = image.shape[:2]
    lines: list[tuple[str, tuple[int, int, int]]] = []
    for thing in frame.things:
        part = thing.thread is not None
        colour = _PERSON if thing.thread == -1 else _TAKES_PART if part else _CLUTTER
        x1, y1, x2, y2 = (round(v) for v in thing.box)
        cv2.rectangle(image, (x1, y1), (x2 - 1, y2 - 1), colour, 1)
        if thing.thread is None:
            continue
        _write(image, thing.object, (x1 + 2, max(y1 - 3, 9)), colour)
        if thing.thread >= 0:
            state = script.threads[thing.thread].state_at(time_s)
            groups = rules.vocabulary.predicate_groups.values()
            said = [n for names in groups for n in names if n in rules.states[state].says]
            lines.append((f"{thing.object}: {', '.join(said)}", _TAKES_PART))
    names = {action.id: action.name for action in rules.actions}
    now = [names[a.id] for a in actions if a.start_s <= time_s <= a.end_s]
    strip = np.full((_STRIP + 12 * len(lines), width, 3), 250, np.uint8)
    _write(strip, f"{time_s:.1f} s  {script.scene[:24]}  {script.actor.id}", (4, 11), (60, 60, 60))
    _write(strip, "; ".join(now)[: width // 6], (4, 24), (30, 60, 190))
    for row, (text, colour) in enumerate(lines):
        _write(strip, text[: width // 6], (4, 38 + 12 * row), colour)
    full = np.full((height + _STRIP + 12 * 5, width + 4, 3), 255, np.uint8)
    full[:height, :width] = image
    end = min(height + len(strip), len(full))
    full[height:end, :width] = strip[: end - height]
    return full


def _write(
    image: np.ndarray, text: str, where: tuple[int, int], colour: tuple[int, int, int]
) -> None:
    cv2.putText(image, text, where, cv2.FONT_HERSHEY_SIMPLEX, 0.34, colour, 1, cv2.LINE_AA)
