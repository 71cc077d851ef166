"""Tests of `tools.convert_weights` with checkpoints as training programs save them."""

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch

from detection.build import NetworkSize, build_detector, seed_weights
from pipeline.errors import UsageError
from pipeline.weights.cards import read_tensors
from pipeline.weights.detector_card import DetectorCard
from pipeline.weights.predictor_card import PredictorCard
from relations.measure import MARKS
from relations.sttran import STTran
from tests.detection.original_names import as_detectron2
from tests.pipeline.predictor_files import small_settings
from tools import convert_weights

SIZE = NetworkSize(depth=26, width=4, fpn_channels=8, head_width=16)
State = dict[str, torch.Tensor]


def detector() -> State:
    ours = build_detector(num_classes=36, preset="detectron2-fpn", size=SIZE)
    seed_weights(ours, 0)
    return as_detectron2(ours.state_dict(), "fpn", 26)


def predictor() -> State:
    torch.manual_seed(0)
    return STTran(small_settings(8, 4)).state_dict()


def prefixed(state: State) -> dict[str, object]:
    beside = {"args": argparse.Namespace(lr=0.1), "best": np.float64(0.3)}
    return {"net": {f"module.{name}": value for name, value in state.items()}, **beside}


def convert(tmp_path: Path, tree: object, *words: str) -> Path:
    torch.save(tree, tmp_path / "a.tar")
    out = tmp_path / "a.safetensors"
    assert convert_weights.main([str(tmp_path / "a.tar"), str(out), *words]) == 0
    return out


def test_nested_weights_with_prefixes_are_converted(tmp_path: Path) -> None:
    plain = read_tensors(convert(tmp_path, detector()), "w")
    found = read_tensors(convert(tmp_path, prefixed(detector())), "w")
    assert found.keys() == plain.keys()
    assert all(torch.equal(found[name], plain[name]) for name in plain)
    found = read_tensors(convert(tmp_path, prefixed(predictor()), "--heads", "4"), "w")
    assert all(torch.equal(value, predictor()[name]) for name, value in found.items())


@pytest.mark.parametrize("lost", [*MARKS, "obj_fc.bias"])
def test_messages_about_a_relation_predictor_name_sttran(tmp_path: Path, lost: str) -> None:
    state = predictor()
    del state[lost]
    with pytest.raises(UsageError, match=r"weights of STTran expected") as raised:
        convert(tmp_path, state, "--heads", "4")
    assert lost in str(raised.value)
    assert "R-CNN" not in str(raised.value)
    (tmp_path / "classes.txt").write_text("person\n")
    with pytest.raises(UsageError, match=r"--classes: a detector expected, but .* of STTran"):
        convert(tmp_path, state, "--classes", str(tmp_path / "classes.txt"))


def test_messages_about_weights_of_another_kind_name_both_kinds(tmp_path: Path) -> None:
    weights = convert(tmp_path, detector())
    with pytest.raises(
        UsageError, match="weights of a relation predictor expected, got weights of a detector"
    ):
        PredictorCard.read_header(weights, "w")
    weights = convert(tmp_path, predictor(), "--heads", "4")
    with pytest.raises(
        UsageError, match="weights of a detector expected, got weights of a relation predictor"
    ):
        DetectorCard.read_header(weights, "w")
