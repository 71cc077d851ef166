"""One video of the world and its ground truth as JSON."""

import json
from pathlib import Path
from typing import Any

from pipeline.decoding.dump_map import dump_to_ordinal
from pipeline.decoding.scan import scan
from pipeline.runtime.files import write_atomically
from tools.world.film import annotated_ordinals, frame_ticks, write_video
from tools.world.labels import Action, find_actions
from tools.world.plot import write_script
from tools.world.render import Frame, Renderer
from tools.world.rules import Rules, load_rules
from tools.world.script import Script, Settings

#: Version of the generator; two versions draw different worlds from the same settings.
VERSION = 3
_MOST_PIXELS, _MOST_FRAMES = 4096 * 4096, 10**6


def make_video(settings: Settings, split: str, index: int, videos: Path, records: Path) -> str:
    """Write one video and its record unless both exist, and return the id of the video.

    Args:
        settings: settings of the world.
        split: `train` or `test`.
        index: number of the video within its split.
        videos: folder of the videos, which are named `ID.mp4`.
        records: folder of the records, which are named `ID.json`.
    """
    rules = load_rules()
    script = write_script(rules, settings, split, index)
    video, record = videos / f"{script.video_id}.mp4", records / f"{script.video_id}.json"
    if not (video.is_file() and record.is_file()):
        tree = _record(rules, settings, script, video)
        write_atomically(record, json.dumps(tree).encode())
    return script.video_id


def _record(rules: Rules, settings: Settings, script: Script, video: Path) -> dict[str, Any]:
    actions = find_actions(rules, script, settings.classes)
    wanted = annotated_ordinals(script, actions)
    renderer = Renderer(rules, script)
    frames = write_video(renderer, video, set(wanted))
    dump = dump_numbers(video)
    times = [tick / script.film.rate[0] for tick in frame_ticks(script)]
    # Action Genome identifies frames by their number in the dump. Frames without one are skipped.
    shown = [_frame(script, frames[o], dump[o], times[o]) for o in wanted if o in dump]
    return {
        "script": script.to_dict(),
        "frames": shown,
        "actions": [_action(rules, script, action, shown) for action in actions],
    }


def dump_numbers(video: Path) -> dict[int, int]:
    """Map decode ordinals to 1-based numbers in Action Genome's dump, which ignores edit lists."""
    found = scan(video, ignore_edit_lists=True, max_pixels=_MOST_PIXELS, max_frames=_MOST_FRAMES)
    numbers: dict[int, int] = {}
    for position, ordinal in enumerate(dump_to_ordinal(found.pts_s, found.start_s, found.rate)):
        numbers.setdefault(ordinal, position + 1)
    return numbers


def _frame(script: Script, frame: Frame, number: int, time_s: float) -> dict[str, Any]:
    things = []
    for thing in frame.things:
        thread = thing.thread
        state = None
        if thread is not None and thread >= 0:
            state = script.threads[thread].state_at(time_s)
        things.append(
            {
                "object": thing.object,
                "thread": thread,
                "state": state,
                "box": [round(v, 2) for v in thing.box],
                "visible": round(thing.visible, 3),
            }
        )
    return {"number": number, "time_s": round(time_s, 4), "things": things}


def _action(
    rules: Rules, script: Script, action: Action, frames: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return an action with its rationale, the relations that cause it."""
    within = [f for f in frames if action.start_s - 0.02 <= f["time_s"] <= action.end_s + 0.02]
    thread = script.threads[action.thread]
    second = None if action.second is None else script.threads[action.second].object
    return {
        "class": action.id,
        "start_s": round(action.start_s, 2),
        "end_s": round(action.end_s, 2),
        "kind": "lasting" if action.moment_s is None else "change",
        "moment_s": None if action.moment_s is None else round(action.moment_s, 3),
        "before": sorted(rules.states[action.before].says),
        "after": sorted(rules.states[action.after].says),
        "pair": ["person", thread.object],
        "second": second,
        "cause": cause_of(action, thread.object),
        "frames": [
            {"number": f["number"], "time_s": f["time_s"], **_boxes(f, action)} for f in within
        ],
    }


def cause_of(action: Action, name: str) -> dict[str, Any]:
    """Return the predicates that the rule of the action requires, without the others of the states.

    `of` is the object class, `with` maps the class of a second object to its predicates. `before`
    and `after` hold for a change, `while` holds for a lasting relation; the others are empty.
    """
    condition = action.condition
    return {
        "kind": "lasting" if action.moment_s is None else "change",
        "of": name,
        "with": {other: sorted(said) for other, said in condition.also.items()},
        "before": sorted(condition.before),
        "after": sorted(condition.after),
        "while": sorted(condition.during),
    }


def _boxes(frame: dict[str, Any], action: Action) -> dict[str, Any]:
    by_thread = {t["thread"]: t["box"] for t in frame["things"] if t["thread"] is not None}
    found = {"person": by_thread.get(-1), "object": by_thread.get(action.thread)}
    if action.second is not None:
        found["second"] = by_thread.get(action.second)
    return found
