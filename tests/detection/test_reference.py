"""Comparison with STTran's detector on the first reference frame.

`python -m tools.check_reference` compares all six frames.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from detection.resnet import Trunk
from tools.proofs.reference.detector_jwyang import build_reference_detector, check
from tools.proofs.reference.weight_rule import make_tensor

REFERENCE = Path(__file__).resolve().parents[1] / "reference"


def test_one_frame_equals_the_reference_and_a_wrong_stem_is_detected() -> None:
    arrays = dict(np.load(REFERENCE / "detector_jwyang.npz"))
    tree = json.loads((REFERENCE / "state_dicts.json").read_text())
    detector = build_reference_detector(
        arrays, tree["keys"]["faster_rcnn_ag"], lambda k, s: make_tensor(tree["seed"], k, s)
    )
    results = check(arrays, detector, 1)
    assert len(results) == 15
    bad = {name: row for name, row in results.items() if not row[0] <= row[1]}
    assert not bad
    assert isinstance(detector.trunk, Trunk)
    detector.trunk.maxpool.padding = 1
    detector.trunk.maxpool.ceil_mode = False
    if check(arrays, detector, 1)["base_feat"][0] <= 1e-3:
        pytest.fail("the check does not detect a wrong padding of the stem")
