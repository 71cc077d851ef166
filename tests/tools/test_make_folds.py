import csv
import json
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.samples.folds import read_folds
from tools import make_folds

SCENES = ("Kitchen", "Bedroom", "Living room", "Bathroom", "Garage", "Stairs", "Pantry")


def write_release(folder: Path, scenes: tuple[str, ...] = SCENES) -> dict[str, tuple[str, str]]:
    """Write the files of Charades. Return the split and the scene of each labelled video."""
    folder.mkdir()
    (folder / "Charades_v1_classes.txt").write_text("c000 Doing something\n")
    found = {}
    for split, people, size in (("train", 4, 60), ("test", 2, 30)):
        with (folder / f"Charades_v1_{split}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "subject", "scene", "actions", "length"])
            for number in range(size):
                video_id, scene = (
                    f"{split[:2].upper()}{number:03d}",
                    scenes[number % 13 % len(scenes)],
                )
                actions = "" if number % 10 == 9 else "c000 0.00 2.00"
                person = f"{split}{number % people}"
                writer.writerow([video_id, person, scene, actions, "10.0"])
                if actions:
                    found[video_id] = split, scene
    return found


def test_folds_differ_from_their_controls_in_the_shift_only(tmp_path: Path) -> None:
    videos = write_release(tmp_path / "charades")
    out = tmp_path / "folds.json"
    words = ["--annotations", str(tmp_path / "charades"), "--out", str(out)]
    assert make_folds.main(words) == 0
    folds = read_folds(str(out))
    train, test = ({i for i, (s, _) in videos.items() if s == name} for name in ("train", "test"))

    seen = set[str]()
    for number in range(1, 6):
        fold, control = folds[f"scenes-{number}"], folds[f"scenes-{number}-iid"]
        scenes = {videos[i][1] for i in fold["test"]}
        assert not scenes & {videos[i][1] for i in fold["train"]}
        assert fold["train"] == {i for i in train if videos[i][1] not in scenes}
        assert control["test"] == fold["test"]
        assert len(control["train"]) == len(fold["train"])
        assert control["train"] < train
        assert not seen & fold["test"]
        seen |= fold["test"]
    assert seen == test

    fold, control = folds["people"], folds["people-iid"]
    assert fold["train"] == train
    assert fold["test"] == control["test"] < test
    assert len(fold["test"]) == len(test) // 2
    assert len(control["train"]) == len(train)
    assert control["train"] & (test - fold["test"])
    assert len(folds) == 12

    first = out.read_bytes()
    assert make_folds.main(words) == 0
    assert out.read_bytes() == first
    assert make_folds.main([*words, "--seed", "1"]) == 0
    assert json.loads(out.read_text())["folds"]["people"]["test"] != sorted(fold["test"])


def test_groups_are_balanced() -> None:
    scenes = ["a"] * 9 + ["b"] * 5 + ["c"] * 4 + ["d"] * 3 + ["e"] * 3 + ["f"] * 2 + ["g"]
    assert make_folds.scene_groups(scenes) == [["a"], ["b"], ["c"], ["d", "f"], ["e", "g"]]


def test_missing_scenes_are_named(tmp_path: Path) -> None:
    write_release(tmp_path / "few", SCENES[:4])
    words = ["--annotations", str(tmp_path / "few"), "--out", str(tmp_path / "folds.json")]
    with pytest.raises(UsageError, match="in at least 5 scenes expected, but fold scenes-5"):
        make_folds.main(words)
    table = tmp_path / "few" / "Charades_v1_test.csv"
    table.write_text(table.read_text().replace("scene", "place", 1))
    with pytest.raises(UsageError, match="a column `scene`"):
        make_folds.main(words)
