"""Annotation files in the form of EVAR's annotations of CAD-120."""

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.runtime.files import write_atomically
from tools.world.cad120.knowledge import knowledge_files
from tools.world.cad120.record import VERSION, make_video
from tools.world.cad120.rules import Rules, load_cad120
from tools.world.cad120.script import World
from tools.world.folder import Plan, Record, write_folder

FRAMES, ANNOTATIONS, _WORLD = "frames", "annotations", "world.json"


def write_cad120(out: Path, world: World, workers: int) -> None:
    """Write a world in the form of CAD-120, or resume an interrupted run.

    Args:
        out: folder of the world.
        world: settings of the world.
        workers: number of processes.

    Raises:
        UsageError: if the folder contains another world or other files.
    """
    rules = load_cad120()
    made_from = {"version": VERSION, "format": "cad120", "settings": asdict(world)}
    plan = Plan(
        made_from=made_from,
        videos=FRAMES,
        last=_WORLD,
        jobs=[(subject, index) for subject in rules.subjects for index in range(world.videos)],
        make=partial(make_video, world),
        release=partial(_write_release, rules, made_from, out),
    )
    write_folder(out, plan, workers)


def _write_release(
    rules: Rules, made_from: dict[str, Any], out: Path, records: list[Record]
) -> None:
    """Write all annotation files, and `world.json` at the end."""
    files = {f"knowledge/{name}": text for name, text in knowledge_files(rules).items()}
    files["video_clips.txt"] = "".join(_clip_lines(record) for record in records)
    for fold, subject in enumerate(rules.subjects, 1):
        others = [name for name in rules.subjects if name != subject]
        files[f"splits/testlist{fold:02d}.txt"] = f"{subject}\n"
        files[f"splits/trainlist{fold:02d}.txt"] = "".join(f"{name}\n" for name in others)
    for record in records:
        files[f"all/{_path(record)}.json"] = json.dumps(record["annotation"]) + "\n"
    for name, text in files.items():
        path = out / ANNOTATIONS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode())
    truth = made_from | {"videos": {_path(record): record["truth"] for record in records}}
    write_atomically(out / _WORLD, (json.dumps(truth) + "\n").encode())


def _path(record: Record) -> str:
    told = record["annotation"]
    return "/".join((told["person_id"], told["video_label"], told["video_id"]))


def _clip_lines(record: Record) -> str:
    video = _path(record).replace("/", ", ")
    return "".join(f"{video}, {first}, {last}, {name}\n" for first, last, name in record["clips"])
