import csv
import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from pipeline.datasets.charades.release import read_annotations
from pipeline.datasets.vocabulary import load_vocabulary
from pipeline.decoding import open_video
from pipeline.errors import UsageError
from tools import synthesize
from tools.world import record
from tools.world.film import frame_ticks
from tools.world.render import Renderer
from tools.world.rules import load_rules
from tools.world.script import Script

RULES = load_rules()
SHORT = ("min_s=4", "max_s=4.5", "long_side=160")


def build(out: Path, seed: int, *words: str, train: int = 2, test: int = 1) -> Path:
    sizes = ["--train", str(train), "--test", str(test), "--seed", str(seed)]
    assert synthesize.main(["--out", str(out), *sizes, *SHORT, *words]) == 0
    return out


def digests(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((folder / "annotations").iterdir())
    }


def pixels(folder: Path) -> list[str]:
    found = []
    for path in sorted((folder / "videos").iterdir()):
        frames = open_video(path).read([0, 20, 60]).frames
        found.append(hashlib.sha256(frames.numpy().tobytes()).hexdigest())
    return found


def test_world_depends_on_the_seed_and_not_on_the_number_of_processes(tmp_path: Path) -> None:
    one, two = build(tmp_path / "a", 3), build(tmp_path / "b", 3, "workers=2")
    other = build(tmp_path / "c", 4)
    assert digests(one) == digests(two)
    assert pixels(one) == pixels(two)
    assert not set(pixels(one)) & set(pixels(other))
    assert digests(one)["person_bbox.pkl"] != digests(other)["person_bbox.pkl"]
    assert {p.name for p in one.iterdir()} == {"videos", "annotations", "made_from.json"}


def test_interrupted_run_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = build(tmp_path / "whole", 3)
    made: list[str] = []
    write = record.write_video

    def stop_at_the_second(renderer: Renderer, path: Path, wanted: set[int]) -> Any:
        if len(made) == 1:
            path.with_name(f".{path.stem}.tmp.mp4").write_bytes(b"half")
            raise KeyboardInterrupt
        made.append(path.name)
        return write(renderer, path, wanted)

    with monkeypatch.context() as patched:
        patched.setattr(record, "write_video", stop_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            build(tmp_path / "broken", 3)
    first = tmp_path / "broken" / "videos" / made[0]
    before = first.stat().st_mtime_ns
    again = build(tmp_path / "broken", 3)
    assert first.stat().st_mtime_ns == before
    assert digests(again) == digests(whole)
    assert pixels(again) == pixels(whole)
    assert not list((again / "videos").glob(".*"))


def test_annotations_match_rendered_frames(tmp_path: Path) -> None:
    world = build(tmp_path / "w", 1, train=6, test=3)
    vocabulary = load_vocabulary("action_genome")
    read = read_annotations([world / "annotations"], vocabulary)
    assert not read.errors
    assert tuple(name for name, _ in read.classes) == RULES.action_ids
    tree = json.loads((world / "annotations" / "world.json").read_text())
    causes = json.loads((world / "annotations" / "rationales.json").read_text())
    odd = set()
    for drawn_from in tree["videos"]:
        script = Script.from_dict(drawn_from)
        renderer = Renderer(RULES, script)
        odd |= {script.film.timing, f"hidden {script.film.hidden > 0}"}
        video = read.videos[script.video_id]
        assert (video.split, video.subject) == (script.split, script.actor.id)
        path = world / "videos" / f"{script.video_id}.mp4"
        dump = open_video(path, numbering="dump")
        shown = open_video(path)
        assert shown.num_frames == len([t for t in frame_ticks(script) if t >= 0])
        times = {
            frame["number"]: frame["time_s"]
            for cause in causes[script.video_id]
            for frame in cause["frames"]
        }
        assert set(times) == {frame.frame_index + 1 for frame in video.frames}
        for annotated in video.frames[::5]:
            drawn = renderer.frame(times[annotated.frame_index + 1], annotate=True)
            seen = dump.read([annotated.frame_index]).frames[0].permute(1, 2, 0).numpy()
            assert np.abs(seen.astype(int) - drawn.image.astype(int)).mean() < 9
            things = {thing.thread: thing for thing in drawn.things}
            np.testing.assert_allclose(annotated.boxes[0], things[-1].box, atol=0.01)
            rows = [row for row in range(len(script.threads)) if _is_seen(things.get(row))]
            assert len(annotated.boxes) == 1 + len(rows)
            for place, row in enumerate(rows):
                said = annotated.predicates[1 + place].nonzero()[:, 0].tolist()
                time_s = times[annotated.frame_index + 1]
                state = RULES.states[script.threads[row].state_at(time_s)]
                assert {vocabulary.predicates[r] for r in said} == state.says


def _is_seen(thing: Any) -> bool:
    return thing is not None and round(thing.visible, 3) >= 0.15


def test_files_have_the_formats_of_the_releases(tmp_path: Path) -> None:
    folder = build(tmp_path / "w", 2, train=4, test=2) / "annotations"
    tables = sorted(
        p.name for p in folder.iterdir() if p.name.endswith(("_train.csv", "_test.csv"))
    )
    assert tables == ["Charades_v1_test.csv", "Charades_v1_train.csv"]
    with open(folder / "Charades_v1_train.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    assert all(len(row["id"]) == 5 and len(row["subject"]) == 4 for row in rows)
    mapping = (folder / "Charades_v1_mapping.txt").read_text().splitlines()
    assert {"c154 o000 v022", "c156 o016 v005"} <= set(mapping)
    things = (folder / "Charades_v1_objectclasses.txt").read_text().splitlines()
    assert (len(things), things[0], things[-1]) == (38, "o000 None", "o037 window")
    assert len((folder / "Charades_v1_verbclasses.txt").read_text().splitlines()) == 33
    objects = pickle.loads((folder / "object_bbox_and_relationship.pkl").read_bytes())
    assert list(objects) == (folder / "frame_list.txt").read_text().split()
    coco = COCO(str(folder / "coco_train.json"))
    assert len(coco.getCatIds()) == 36
    for box in coco.loadAnns(coco.getAnnIds()):
        image = coco.loadImgs(box["image_id"])[0]
        x, y, w, h = box["bbox"]
        assert 0 <= x < x + w <= image["width"] + 0.01
        assert 0 <= y < y + h <= image["height"] + 0.01
    folds = json.loads((folder / "scene_folds.json").read_text())
    flat = [scene for fold in folds for scene in fold]
    tree = json.loads((folder / "world.json").read_text())
    assert len(folds) == 5
    assert sorted(flat) == sorted({video["scene"] for video in tree["videos"]})


def test_relation_noise_changes_only_relations(tmp_path: Path) -> None:
    clean = build(tmp_path / "clean", 2)
    noisy = build(tmp_path / "noisy", 2, "relation_noise=0.3")
    one, two = digests(clean), digests(noisy)
    changed = {name for name in one if one[name] != two[name]}
    assert changed == {"object_bbox_and_relationship.pkl", "world.json"}
    name = "object_bbox_and_relationship.pkl"
    a, b = (pickle.loads((w / "annotations" / name).read_bytes()) for w in (clean, noisy))
    pairs = [
        (x[key], y[key])
        for frame in a
        for x, y in zip(a[frame], b[frame], strict=True)
        if x["visible"]
        for key in ("attention_relationship", "spatial_relationship", "contacting_relationship")
    ]
    share = np.mean([x != y for x, y in pairs])
    assert 0.2 < share < 0.4


def test_world_contains_only_the_selected_classes(tmp_path: Path) -> None:
    world = build(tmp_path / "w", 0, "classes=[c109,c110]", train=3)
    read = read_annotations([world / "annotations"], load_vocabulary("action_genome"))
    assert [name for name, _ in read.classes] == ["c109", "c110"]
    assert all(video.actions for video in read.videos.values())


def test_preview_writes_contact_sheets(tmp_path: Path) -> None:
    words = ["--preview", str(tmp_path), "--train", "2", *SHORT]
    assert synthesize.main(words) == 0
    sheets = [cv2.imread(str(path)) for path in sorted(tmp_path.glob("*.png"))]
    assert len(sheets) == 2
    assert all(sheet is not None and sheet.std() > 20 for sheet in sheets)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--train", "-1"], "numbers of at least 0"),
        (["--train", "0", "--test", "0"], "at least one video"),
        (["--seed", "x"], "seed"),
        (["key=value"], "keys shift"),
        (["actors=41"], "actors: 2 to 40 expected, got 41"),
        (["classes=[c999]"], "c999"),
        (["classes=[c110,c000000]"], "c000000"),
        (["shift=3"], "shift: 0.0 to 2.0"),
        (["min_s=9", "max_s=5"], "max_s"),
        (["workers=0"], "workers"),
        (["--preview", "elsewhere"], "one of --out"),
    ],
)
def test_invalid_arguments_are_rejected(tmp_path: Path, words: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        synthesize.main(["--out", str(tmp_path / "w"), *words])
    assert not (tmp_path / "w").exists()


def test_settings_without_a_possible_script_are_rejected(tmp_path: Path) -> None:
    words = ["--train", "1", "--test", "0", "min_s=2", "max_s=2", "classes=[c140]"]
    with pytest.raises(UsageError, match="c140; allow longer"):
        synthesize.main(["--out", str(tmp_path / "w"), *words])


def test_folder_with_other_files_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(json.dumps({}))
    with pytest.raises(UsageError, match="new or empty"):
        build(tmp_path, 0)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.json"]


def test_folder_of_another_world_is_rejected(tmp_path: Path) -> None:
    world = build(tmp_path / "w", 3, train=1, test=0)
    before = digests(world)
    with pytest.raises(UsageError, match="seed=3, not seed=4"):
        build(tmp_path / "w", 4, train=1, test=0)
    with pytest.raises(UsageError, match="train=1, not train=2"):
        build(tmp_path / "w", 3, train=2, test=0)
    assert digests(world) == before


def test_run_resumes_after_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(record, "write_video", full)
        with pytest.raises(UsageError, match="No space left"):
            build(tmp_path / "w", 3)
    build(tmp_path / "w", 3)
