import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import train
from pipeline.cache.manifest import Manifest, read_manifest
from pipeline.errors import UsageError
from pipeline.explanation.predictions import NOTHING, Statement
from tests.conftest import CONFIG, SMALL, World
from tools.faithfulness import as_markdown, main
from tools.proofs.faithfulness.causes import Cause, SampledTimes, best_faults, faults_of
from tools.proofs.faithfulness.rationales import MAPPING, OBJECTS
from tools.proofs.faithfulness.summary import mean_with_interval
from tools.world.rules import load_rules
from tools.world.true_relations import read_scripts

#: Rows of the report of a small world.
ROWS = (
    "no token kept",
    "all tokens kept",
    "rationale precision",
    "rationale precision, chance",
    "rationale recall",
    "rationale recall, chance",
    "pointing",
    "pointing, chance",
    "pointing in time",
    "pointing in time, chance",
    "randomised parameters",
    "randomised parameters, random",
    "randomised parameters, no token",
    "name is true, contacting",
    "name is true, contacting, most frequent of class",
    "name is true, contacting, most frequent",
    "stability, explained",
    "stability, statement",
    "stability, statement, random",
    "stability, time",
    "stability, mean change",
    "stability, largest change",
    "stability, largest change, random",
    "inverse pairs, accuracy",
    "inverse pairs, flips",
    "mAP",
    "mAP, random",
    "mAP, difference",
    "mask probe",
    "mask probe, random",
    "mask probe, difference",
)
TIMES = SampledTimes((0.0, 1.0, 2.0, 3.0, 4.0), (0.1, 1.1, 2.1, 3.1, 4.1))
PUT = Cause(
    "c001",
    1.0,
    2.5,
    1.8,
    {
        "kind": "change",
        "of": "cup",
        "with": {"table": ["in_front_of"]},
        "before": ["holding"],
        "after": ["in_front_of", "not_contacting"],
        "while": [],
    },
)
HOLD = Cause(
    "c000",
    1.0,
    2.5,
    None,
    {"kind": "lasting", "of": "cup", "with": {}, "before": [], "after": [], "while": ["holding"]},
)


def change(**changes: Any) -> Statement:
    given = Statement("change", "cup", 0, "contacting", "holding", "not_contacting", (1.0, 2.0))
    return Statement.from_dict(given.to_dict() | changes)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ()),
        (NOTHING.to_dict(), ("none",)),
        ({"kind": "lasting"}, ("kind",)),
        ({"object": "box"}, ("object",)),
        ({"object": "table", "from": "in_front_of", "to": "in_front_of"}, ()),
        ({"object": "table"}, ("from", "to")),
        ({"from": "touching"}, ("from",)),
        ({"to": "holding"}, ("to",)),
        ({"between_s": [2.0, 3.0]}, ("moment",)),
        ({"between_s": [0.0, 2.0]}, ()),
        ({"between_s": [0.0, 3.0]}, ("long",)),
        ({"from": "touching", "between_s": [2.0, 3.0]}, ("from", "moment")),
    ],
)
def test_reason_of_a_change_is_true_if_all_its_parts_are(
    changes: dict, expected: tuple[str, ...]
) -> None:
    assert faults_of(change(**changes), PUT, TIMES) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ()),
        ({"to": "touching"}, ("to",)),
        ({"between_s": [0.0, 0.0]}, ("time",)),
        ({"between_s": [1.0, 1.0]}, ()),
        ({"between_s": [1.0, 3.0]}, ()),  # 1.4 s of 2 s lie within the action
        ({"between_s": [1.0, 4.0]}, ("time",)),  # 1.4 s of 3 s
        ({"kind": "change"}, ("kind",)),
    ],
)
def test_reason_of_a_lasting_relation_is_true_during_the_action(
    changes: dict, expected: tuple[str, ...]
) -> None:
    given = {"kind": "lasting", "from": None, "to": "holding"}
    assert faults_of(change(**given | changes), HOLD, TIMES) == expected


def test_the_best_cause_of_a_class_decides() -> None:
    later = Cause("c001", 3.0, 4.0, 3.5, PUT.rule)
    assert best_faults(change(between_s=[3.0, 4.0]), [PUT, later], TIMES) == ()
    assert best_faults(change(between_s=[2.0, 3.0]), [PUT, later], TIMES) == ("moment",)


def test_means_weigh_values_and_resample_videos() -> None:
    found = mean_with_interval({"A": [1.0, 1.0, 1.0], "B": [0.0], "C": []})
    assert (found["mean"], found["count"], found["videos"]) == (0.75, 4, 2)
    assert (found["low"], found["high"]) == (0.0, 1.0)
    assert mean_with_interval({})["mean"] is None
    g = np.random.default_rng(0)
    values = {str(i): [float(g.normal(0.5, 1))] for i in range(400)}
    found = mean_with_interval(values)
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 / 20, rel=0.15)


def test_report_lists_faults_and_sentences() -> None:
    tree = {
        "videos": 2,
        "videos_without_kept_tokens": 0,
        "reasons": {"change": 1},
        "metrics": {"covered": mean_with_interval({})},
        "left_out": {"rationales: action without an object": 2},
        "faults": {"change: moment": 1},
        "sentences": [{"video": "A", "sentence": "Said.", "faults": ["moment"], "cause": {}}],
    }
    text = as_markdown(tree)
    assert "| covered | none | none | 0 | 0 |" in text
    assert "| rationales: action without an object | 2 |" in text
    assert "| A | Said. | wrong: moment |" in text


def test_command_measures_a_run(world: World, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    data = ["--cache", str(world.cache), "--run", str(run)]
    # The scores of a network after one epoch are low. The low threshold explains them all the same.
    settings = [*SMALL, "train.epochs=1", "predict.threshold=0.005", "train.reversed_share=0"]
    assert train.main(["--config", CONFIG, *data, *settings]) == 0
    words = [*data, "--out", str(out), "--device", "cpu"]
    assert main([*words, "--annotations", str(world.annotations), "--other", str(world.cache)]) == 0
    tree = json.loads((out / "faithfulness.json").read_text())
    assert (tree["schema"], tree["videos"]) == ("laiar.faithfulness/1", 3)
    metrics = tree["metrics"]
    assert metrics["discard invariance"]["mean"] == 0.0
    assert metrics["sufficiency"]["mean"] <= 0.05 + 1e-6
    assert sum(tree["reasons"].values()) >= metrics["sentence truth"]["count"] >= 1
    assert metrics["sentence truth, rules on true relations"]["mean"] >= 0.8
    assert {*ROWS} <= {*metrics}
    for name in ("explained", "statement", "time"):
        assert metrics[f"stability, {name}"]["mean"] == 1.0  # both caches are the same
    assert metrics["stability, largest change"]["mean"] == 0.0
    assert metrics["mAP"]["mean"] is not None
    assert metrics["mask probe"]["mean"] is None  # less than 20 videos
    text = (out / "faithfulness.md").read_text()
    assert text.startswith("3 videos")
    assert all(f"| {name} |" in text for name in ROWS)
    assert main([*words, "--annotations", str(world.annotations), "--truth"]) == 0
    truth = json.loads((out / "faithfulness.json").read_text())["metrics"]
    assert "sufficiency" not in truth
    for name in ("sentence truth", *(key for key in metrics if key.startswith("name is true, "))):
        assert truth[name] == metrics[name], name
    with pytest.raises(UsageError, match="expected with --truth"):
        main([*words, "--truth"])
    assert main([*words, "--limit", "1", "--keep", "all"]) == 0
    tree = json.loads((out / "faithfulness.json").read_text())
    assert (tree["keep"], tree["metrics"]["all tokens kept"]["mean"]) == ("all", 1.0)
    assert not {"sentence truth", "rationale precision", "stability, time"} & {*tree["metrics"]}
    charades, other = tmp_path / "charades", tmp_path / "other"
    charades.mkdir()
    for name in (MAPPING, OBJECTS):
        shutil.copy(world.annotations / name, charades)
    shutil.copytree(world.cache, other)
    rows = read_manifest(other)
    video_id = world.test_clips[0].stem
    del rows[video_id]
    Manifest(other).write(rows)
    (other / f"{video_id}.safetensors").unlink()
    assert main([*words, "--annotations", str(charades), "--other", str(other)]) == 0
    tree = json.loads((out / "faithfulness.json").read_text())
    assert "sentence truth" not in tree["metrics"]
    assert tree["metrics"]["rationale precision"]["count"] >= 1
    assert tree["left_out"]["stability: video not in --other"] == 1
    with pytest.raises(UsageError, match=r"or world\.json expected in .*, found neither"):
        main([*words, "--annotations", str(tmp_path)])
    with pytest.raises(UsageError, match="--limit of at least 1"):
        main([*words, "--limit", "0"])


def test_world_in_another_form_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "world.json").write_text('{"format": "cad120", "videos": {}}')
    with pytest.raises(UsageError, match="form of Charades expected, got the form cad120"):
        read_scripts(tmp_path, load_rules(), [])
