"""Annotation files in the formats and with the names of Charades and Action Genome."""

import csv
import io
import json
import pickle
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.datasets.charades.table import COLUMNS
from pipeline.datasets.vocabulary import normalize_name
from pipeline.runtime.files import write_atomically
from tools.make_folds import scene_groups
from tools.world.record import VERSION
from tools.world.rules import Rules
from tools.world.script import Settings

#: Smallest visible share of an annotated object.
LEAST_VISIBLE = 0.15
Record = dict[str, Any]


def write_release(
    rules: Rules, settings: Settings, sizes: dict[str, int], records: list[Record], folder: Path
) -> None:
    """Write all annotation files.

    Args:
        rules: contents of configs/world/.
        settings: settings of the world.
        sizes: number of videos per split.
        records: records of `tools.world.record`, training videos first.
        folder: folder of the files. It is created if it does not exist.
    """
    folder.mkdir(parents=True, exist_ok=True)
    objects, persons = _action_genome(rules, settings, records)
    files: dict[str, bytes] = {name: text.encode() for name, text in _class_files(rules, settings)}
    files["frame_list.txt"] = _lines(objects).encode()
    for split in ("train", "test"):
        rows = [r for r in records if r["script"]["split"] == split]
        files[f"Charades_v1_{split}.csv"] = _table(rules, rows).encode()
        files[f"coco_{split}.json"] = _json(_coco(rules, rows))
    files["object_bbox_and_relationship.pkl"] = pickle.dumps(objects, protocol=4)
    files["person_bbox.pkl"] = pickle.dumps(persons, protocol=4)
    files["rationales.json"] = _json({r["script"]["video_id"]: r["actions"] for r in records})
    files["scene_folds.json"] = _json(scene_groups([r["script"]["scene"] for r in records]))
    world = {"version": VERSION, "settings": asdict(settings), "sizes": sizes}
    files["world.json"] = _json(world | {"videos": [r["script"] for r in records]})
    for name, data in files.items():
        write_atomically(folder / name, data)


def _class_files(rules: Rules, settings: Settings) -> list[tuple[str, str]]:
    actions = [a for a in rules.actions if not settings.classes or a.id in settings.classes]
    verbs, things = rules.verb_names, rules.object_names
    mapping = (f"{a.id} o{things.index(a.object):03d} v{verbs.index(a.verb):03d}" for a in actions)
    return [
        ("Charades_v1_classes.txt", _lines(f"{a.id} {a.name}" for a in actions)),
        ("Charades_v1_mapping.txt", _lines(mapping)),
        ("Charades_v1_objectclasses.txt", _lines(f"o{i:03d} {n}" for i, n in enumerate(things))),
        ("Charades_v1_verbclasses.txt", _lines(f"v{i:03d} {n}" for i, n in enumerate(verbs))),
        ("object_classes.txt", _lines(normalize_name(n) for n in rules.vocabulary.objects)),
        (
            "relationship_classes.txt",
            _lines(n.replace("_", "") for n in rules.vocabulary.predicates),
        ),
    ]


def _table(rules: Rules, records: list[Record]) -> str:
    names = {action.id: action.name for action in rules.actions}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for record in records:
        script, actions = record["script"], record["actions"]
        labels = ";".join(f"{a['class']} {a['start_s']:.2f} {a['end_s']:.2f}" for a in actions)
        told = ", ".join(names[a["class"]] for a in actions).lower()
        said = f"A person in the {script['scene'].split(' (')[0].lower()}: {told or 'idle'}."
        objects = ";".join(sorted({t["object"].split("/")[0] for t in script["threads"]}))
        row = (script["video_id"], script["actor"]["id"], script["scene"], "7", "7", "Yes", said)
        writer.writerow((*row, objects, said, labels, f"{script['length_s']:.2f}"))
    return text.getvalue()


def _action_genome(
    rules: Rules, settings: Settings, records: list[Record]
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, dict[str, Any]]]:
    """Return the contents of both pickles, objects and persons by `ID.mp4/NNNNNN.png`."""
    objects: dict[str, list[dict[str, Any]]] = {}
    persons: dict[str, dict[str, Any]] = {}
    for record in records:
        script = record["script"]
        rng = np.random.default_rng([*script["key"], 11])
        for frame in record["frames"]:
            key = f"{script['video_id']}.mp4/{frame['number']:06d}.png"
            by_thread = {t["thread"]: t for t in frame["things"] if t["thread"] is not None}
            objects[key] = [
                _entry(script, key, thread["object"])
                | _said(rules, settings.relation_noise, by_thread.get(row), rng)
                for row, thread in enumerate(script["threads"])
            ]
            persons[key] = _person(by_thread.get(-1), script["size"])
    return objects, persons


def _entry(script: dict[str, Any], key: str, name: str) -> dict[str, Any]:
    video, number = key.removesuffix(".png").split("/")
    tag = f"{video}/{name.replace('/', '_')}/{number}"
    return {"class": name, "metadata": {"tag": tag, "set": script["split"]}}


def _said(
    rules: Rules, noise: float, thing: dict[str, Any] | None, rng: np.random.Generator
) -> dict[str, Any]:
    """Return the relations and the box of an object. Both are None if the object is hidden."""
    groups = rules.vocabulary.predicate_groups
    if thing is None or thing["visible"] < LEAST_VISIBLE:
        return {f"{group}_relationship": None for group in groups} | {
            "bbox": None,
            "visible": False,
        }
    says = rules.states[thing["state"]].says
    entry: dict[str, Any] = {}
    for group, names in groups.items():
        true = [n for n in names if n in says]
        if rng.random() < noise:
            wrong = [n for n in names if n not in says]
            true = [wrong[int(rng.integers(len(wrong)))]]
        entry[f"{group}_relationship"] = true
    x1, y1, x2, y2 = thing["box"]
    return entry | {"bbox": (x1, y1, x2 - x1, y2 - y1), "visible": True}


def _person(thing: dict[str, Any] | None, size: list[int]) -> dict[str, Any]:
    num = 0 if thing is None else 1
    box = np.zeros((0, 4), np.float32) if thing is None else np.array([thing["box"]], np.float32)
    return {
        "bbox": box,
        "bbox_score": np.ones(num, dtype=np.float32),
        "bbox_size": (size[0], size[1]),
        "bbox_mode": "xyxy",
        "keypoints": np.zeros((num, 17, 3), dtype=np.float32),
        "keypoints_logits": np.zeros((num, 17), dtype=np.float32),
    }


def _coco(rules: Rules, records: list[Record]) -> dict[str, Any]:
    """Return COCO annotations of every visible object, including clutter."""
    names = rules.vocabulary.objects
    images: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    for record in records:
        script = record["script"]
        width, height = script["size"]
        for frame in record["frames"]:
            file = f"{script['video_id']}.mp4/{frame['number']:06d}.png"
            image = len(images) + 1
            images.append({"id": image, "file_name": file, "width": width, "height": height})
            for thing in (t for t in frame["things"] if t["visible"] >= LEAST_VISIBLE):
                x1, y1, x2, y2 = thing["box"]
                box = [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)]
                boxes.append(
                    {
                        "id": len(boxes) + 1,
                        "image_id": image,
                        "category_id": names.index(thing["object"]) + 1,
                        "bbox": box,
                        "area": round(box[2] * box[3], 2),
                        "iscrowd": 0,
                    }
                )
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(names)]
    return {"images": images, "annotations": boxes, "categories": categories}


def _json(tree: Any) -> bytes:
    return (json.dumps(tree, indent=None, separators=(",", ":")) + "\n").encode()


def _lines(names: Iterable[str]) -> str:
    return "".join(f"{name}\n" for name in names)
