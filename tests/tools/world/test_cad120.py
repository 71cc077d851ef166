import collections
import hashlib
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.errors import UsageError
from tools import synthesize
from tools.world.cad120 import record, release
from tools.world.cad120.clips import find_clips
from tools.world.cad120.plot import write_script
from tools.world.cad120.rules import load_cad120
from tools.world.cad120.script import World

RULES = load_cad120()
SUBJECTS = ("Subject1", "Subject3", "Subject4", "Subject5")
SIZE = (128, 96)
Tree = dict[str, Any]


def build(out: Path, *words: str, seed: int = 0, videos: int = 1) -> Path:
    options = ["--format", "cad120", "--out", str(out), "--seed", str(seed)]
    assert synthesize.main([*options, f"videos={videos}", "long_side=128", *words]) == 0
    return out


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("cad120") / "world", seed=1)


@pytest.fixture(scope="module")
def videos(world: Path) -> list[Tree]:
    return [json.loads(p.read_text()) for p in sorted((world / "annotations/all").rglob("*.json"))]


def read(path: Path) -> np.ndarray:
    """Return an image, (H, W, 3) uint8 BGR."""
    image = cv2.imread(str(path))
    assert image is not None
    return image


def lines(path: Path) -> list[list[str]]:
    """Return the fields of each line of a file of the folder `knowledge`."""
    return [[part.strip() for part in line.split(";")] for line in path.read_text().splitlines()]


def changes(knowledge: Path, video: Tree) -> list[tuple[int, str]]:
    """Return (1-based frame, action) of each change that a rule of the files describes."""
    states = [("", t["obj_id"], t["attr_list"]) for t in video["attributes"]]
    states += [(*t["obj_ids"], t["rel_list"]) for t in video["relations"]]
    rules = [[*rule[:3], "", rule[3]] for rule in lines(knowledge / "act_attr_list.txt")]
    rules += lines(knowledge / "act_rel_list.txt")
    found = []
    for action, before, after, subject, objects in rules:
        for owner, name, said in states:
            if owner.split("_")[0] == subject and name.rsplit("_", 1)[0] in objects.split(", "):
                pairs = enumerate(itertools.pairwise(said), 2)
                found += [(n, action) for n, pair in pairs if pair == (before, after)]
    return sorted(found)


def test_each_clip_shows_exactly_the_change_of_its_action(world: Path, videos: list[Tree]) -> None:
    by_id = {video["video_id"]: video for video in videos}
    actions = set()
    for line in (world / "annotations/video_clips.txt").read_text().splitlines():
        subject, activity, video_id, first, last, action = line.split(", ")
        video = by_id[video_id]
        assert (video["person_id"], video["video_label"]) == (subject, activity)
        assert 1 <= int(first) <= int(last) <= len(video["locations"][0]["loc_list"])
        assert 11 <= int(last) - int(first) + 1 <= 60
        found = changes(world / "annotations/knowledge", video)
        shown = [name for frame, name in found if int(first) < frame <= int(last)]
        assert shown == ([] if action == "null" else [action]), line
        actions.add(action)
    assert len(actions) >= 9


def test_files_have_the_layout_of_cad120_and_the_format_of_evar(
    world: Path, videos: list[Tree]
) -> None:
    assert {p.name for p in world.iterdir()} == {
        "frames", "annotations", "made_from.json", "world.json",
    }  # fmt: skip
    assert len(videos) == 4
    for video in videos:
        subject, activity, video_id = (
            video[key] for key in ("person_id", "video_label", "video_id")
        )
        folder = world / "frames" / f"{subject}_rgbd_images" / activity / video_id
        num = len(list(folder.glob("RGB_*.png")))
        assert read(folder / "RGB_1.png").shape == (*SIZE[::-1], 3)
        assert (folder / f"RGB_{num}.png").is_file()
        boxes = {t["obj_id"]: t["loc_list"] for t in video["locations"]}
        assert {"head_1", "hand_1", "hand_2"} <= boxes.keys()
        kinds = {name: name.rsplit("_", 1)[0] for name in boxes}
        assert set(kinds.values()) <= set(RULES.shapes)
        assert all(len(t) == num for t in boxes.values())
        for x, y, w, h in itertools.chain(*boxes.values()):
            assert all(isinstance(v, int) for v in (x, y, w, h))
            assert (x, y, w, h) == (0, 0, 0, 0) or (w > 0 and h > 0)
            assert 0 <= x <= x + w <= SIZE[0]
            assert 0 <= y <= y + h <= SIZE[1]
        pairs = {tuple(t["obj_ids"]) for t in video["relations"]}
        assert pairs == {
            (owner, name)
            for owner, name in itertools.product(boxes, boxes)
            if kinds[owner] in RULES.relations and kinds[name] in RULES.relations[kinds[owner]].of
        }
        for said in video["relations"]:
            assert len(said["rel_list"]) == num
            kind = kinds[said["obj_ids"][0]]
            assert set(said["rel_list"]) <= set(RULES.relations[kind].names)
        lids = {t["obj_id"] for t in video["attributes"]}
        assert lids == {n for n, kind in kinds.items() if kind in RULES.attributes.of}
        assert all(len(t["attr_list"]) == num for t in video["attributes"])


def test_folds_and_rules_are_those_of_evar(world: Path) -> None:
    folder = world / "annotations"
    for fold, subject in enumerate(SUBJECTS, 1):
        test = (folder / f"splits/testlist0{fold}.txt").read_text().split()
        train = (folder / f"splits/trainlist0{fold}.txt").read_text().split()
        assert test == [subject]
        assert train == [name for name in SUBJECTS if name != subject]
    files = {p.stem: p.read_text().splitlines() for p in (folder / "knowledge").iterdir()}
    assert {name: len(found) for name, found in files.items()} == {
        "act_attr_list": 2, "act_rel_list": 7, "action_list": 10, "attribute_list": 2,
        "object_attribute_list": 13, "object_list": 13, "object_relation_list": 3,
        "relation_list": 6,
    }  # fmt: skip
    assert files["action_list"][:3] == ["null", "open", "close"]
    assert files["object_list"][:3] == ["hand", "head", "box"]
    assert "open; closed; open; microwave, bottle, medicine-box" in files["act_attr_list"]
    assert "drink; apart; contacting; head; cup, bottle" in files["act_rel_list"]
    assert "microwave; containing; separate; bowl, cup, cloth, box" in files["object_relation_list"]
    assert "bottle; closed, open" in files["object_attribute_list"]
    assert "cup; null" in files["object_attribute_list"]


def test_boxes_agree_with_relations(videos: list[Tree]) -> None:
    checked: collections.Counter[str] = collections.Counter()
    for video in videos:
        boxes = {t["obj_id"]: np.array(t["loc_list"]) for t in video["locations"]}
        lids = {t["obj_id"] for t in video["attributes"]}
        held = {name: np.zeros(len(boxes[name]), bool) for name in boxes}
        for said in video["relations"]:
            owner, name = said["obj_ids"]
            holds = np.isin(said["rel_list"], ["holding", "contacting", "containing"])
            held[name] |= holds & (owner[:4] == "hand")
            seen = (boxes[owner][:, 2] > 0) & (boxes[name][:, 2] > 0)
            for a, b in zip(boxes[owner][holds & seen], boxes[name][holds & seen], strict=True):
                assert ((a[:2] <= b[:2] + b[2:]) & (b[:2] <= a[:2] + a[2:])).all()
                checked[owner] += 1
        for name, where in boxes.items():
            if name[:4] in ("hand", "head") or name in lids:
                continue
            for still, group in itertools.groupby(range(len(where)), lambda i: not held[name][i]):  # noqa: B023
                rows = [i for i in group if where[i, 2] > 0]
                assert not still or len({tuple(where[i]) for i in rows}) <= 1
    assert min(checked[name] for name in ("hand_1", "hand_2", "head_1", "microwave_1")) > 5


def test_object_in_a_shut_microwave_is_invisible(videos: list[Tree]) -> None:
    hidden = 0
    for video in videos:
        doors = [t["attr_list"] for t in video["attributes"] if t["obj_id"] == "microwave_1"]
        for said in video["relations"]:
            if said["obj_ids"][0] == "microwave_1":
                boxes = {t["obj_id"]: t["loc_list"] for t in video["locations"]}
                states = zip(said["rel_list"], doors[0], boxes[said["obj_ids"][1]], strict=True)
                for relation, door, box in states:
                    if (relation, door) == ("containing", "closed"):
                        assert box == [0, 0, 0, 0]
                        hidden += 1
    assert hidden > 5


def test_hand_boxes_contain_the_skin_of_the_subject(world: Path, videos: list[Tree]) -> None:
    for video in videos:
        index = list(RULES.subjects).index(video["person_id"])
        script = write_script(RULES, World(1, 1, 128), SUBJECTS[index], 0)
        folder = f"{script.subject}_rgbd_images/{script.activity}/{script.video_id}"
        boxes = next(t["loc_list"] for t in video["locations"] if t["obj_id"] == "hand_1")
        for number in range(1, len(boxes) + 1, 25):
            x, y, w, h = boxes[number - 1]
            if w:
                image = read(world / "frames" / folder / f"RGB_{number}.png")
                seen = image[y : y + h, x : x + w, ::-1].reshape(-1, 3).astype(float)
                skin = np.array(script.actor.skin, float)
                cosine = seen @ skin / np.linalg.norm(seen, axis=1) / np.linalg.norm(skin)
                assert (cosine > 0.98).mean() > 0.25, (video["video_id"], number)


def test_frequencies_are_close_to_those_of_evar() -> None:
    real = {
        "null": 161, "pick": 109, "place": 100, "open": 48, "close": 40, "drink": 31, "eat": 28,
        "take_food": 12, "clean": 12, "microwave_food": 10,
    }  # fmt: skip
    counts: collections.Counter[str] = collections.Counter()
    at_edge, num, overlaps = 0, 0, 0
    for subject, index in itertools.product(SUBJECTS, range(25)):
        script = write_script(RULES, World(), subject, index)
        clips = find_clips(script)
        overlaps += sum(b.first <= a.last for a, b in itertools.pairwise(clips))
        for clip in clips:
            counts[clip.action] += 1
            for event in script.events:
                if clip.first < event.frame <= clip.last:
                    share = (event.frame - clip.first) / (clip.last - clip.first + 1)
                    at_edge, num = at_edge + (share <= 0.05 or share >= 0.95), num + 1
    for action, expected in real.items():
        assert counts[action] == pytest.approx(expected, rel=0.25, abs=3), action
    assert 0.02 < at_edge / num < 0.07
    assert 0.05 < overlaps / counts.total() < 0.15


def with_subjects(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Limit the worlds of a test to some subjects."""
    few = {name: RULES.subjects[name] for name in names}
    monkeypatch.setattr(release, "load_cad120", lambda: replace(RULES, subjects=few))


def test_world_depends_on_the_seed_and_not_on_the_number_of_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_subjects(monkeypatch, "Subject5")
    one, two = build(tmp_path / "a", seed=6), build(tmp_path / "b", "workers=2", seed=6)
    assert digests(one) == digests(two)
    other = digests(build(tmp_path / "c", seed=13))
    assert not {v for k, v in digests(one).items() if "RGB" in k} & set(other.values())


def test_interrupted_run_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_subjects(monkeypatch, "Subject3", "Subject5")
    whole = build(tmp_path / "whole", seed=7)
    made: list[Path] = []
    write = record._write_frames

    def stop_at_the_second(renderer: Any, folder: Path, has_depth: bool) -> Any:
        if made:
            half = folder.with_name(f".{folder.name}.tmp")
            half.mkdir(parents=True)
            (half / "RGB_1.png").write_bytes(b"half")
            raise KeyboardInterrupt
        made.append(folder)
        return write(renderer, folder, has_depth)

    with monkeypatch.context() as patched:
        patched.setattr(record, "_write_frames", stop_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            build(tmp_path / "broken", seed=7)
    before = (made[0] / "RGB_1.png").stat().st_mtime_ns
    again = build(tmp_path / "broken", seed=7)
    assert (made[0] / "RGB_1.png").stat().st_mtime_ns == before
    assert digests(again) == digests(whole)


def test_some_videos_have_depth_images(tmp_path: Path) -> None:
    script = write_script(RULES, World(1, 4, 128), "Subject1", 3)
    (tmp_path / "records").mkdir()
    paths = tmp_path / "frames", tmp_path / "records"
    assert record.make_video(World(1, 4, 128), "Subject1", 3, *paths) == script.video_id
    names = {path.name.split("_")[0] for path in paths[0].rglob("*.png")}
    assert names == {"RGB", "Depth"}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"rooms": ("Cellar",)}, "Cellar"),
        ({"activities": (replace(RULES.activities[0], others=("spoon",)),)}, "spoon"),
        ({"actions": (replace(RULES.actions[0], after="shut"),)}, "action open"),
        ({"attributes": replace(RULES.attributes, of=("spoon",))}, "action open|spoon"),
    ],
)
def test_undefined_names_are_rejected(wrong: Tree, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(RULES, **wrong)


def test_preview_writes_contact_sheets(tmp_path: Path) -> None:
    words = ["--format", "cad120", "--preview", str(tmp_path), "videos=1", "long_side=128"]
    assert synthesize.main(words) == 0
    sheets = [read(path) for path in sorted(tmp_path.glob("*.png"))]
    assert len(sheets) == 4
    assert all(sheet.std() > 20 for sheet in sheets)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--train", "3"], "--train, --test: not with --format cad120"),
        (["--seed", "-1"], "--seed: a number of at least 0"),
        (["shift=1"], "keys videos, long_side, workers"),
        (["videos=0"], "videos: 1 to 1000 expected, got 0"),
        (["long_side=64"], "long_side: 128 to 1920"),
        (["workers=0"], "workers: 1 to 256"),
        (["--preview", "elsewhere"], "one of --out"),
        (["--format", "ucf101"], "charades"),
    ],
)
def test_invalid_arguments_are_rejected(tmp_path: Path, words: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        synthesize.main(["--format", "cad120", "--out", str(tmp_path / "w"), *words])
    assert not (tmp_path / "w").exists()


def test_folder_of_another_world_is_rejected(world: Path) -> None:
    before = digests(world)
    with pytest.raises(UsageError, match="videos=1, not videos=2"):
        build(world, seed=1, videos=2)
    with pytest.raises(UsageError, match="format cad120, not charades"):
        synthesize.main(["--out", str(world), "--seed", "1"])
    assert digests(world) == before


def test_charades_is_the_default_format(tmp_path: Path) -> None:
    words = ["--train", "1", "--test", "0", "min_s=4", "max_s=4.5", "long_side=128"]
    assert synthesize.main(["--out", str(tmp_path / "a"), *words]) == 0
    assert synthesize.main(["--out", str(tmp_path / "b"), "--format", "charades", *words]) == 0
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    made_from = json.loads((tmp_path / "a/made_from.json").read_text())
    assert made_from.keys() == {"version", "settings", "sizes"}
