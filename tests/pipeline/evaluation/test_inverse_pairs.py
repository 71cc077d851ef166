from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.evaluation.inverse_pairs import read_inverse_pairs, score_inverse_pairs
from tools.world.rules import load_rules

CHARADES = "configs/inverse_pairs/charades.yaml"
ALL = [f"c{i:03d}" for i in range(157)]


@given(seed=st.integers(0, 2**31), V=st.integers(0, 8))
def test_scores_equal_plain_loops(seed: int, V: int) -> None:
    rng = np.random.default_rng(seed)
    scores, again = rng.integers(0, 4, (2, V, 5)) / 4
    labels = rng.random((V, 5)) < 0.5
    pairs = [(0, 1), (4, 2)]
    cases, right, flips = 0, 0, 0
    for v in range(V):
        for a, b in pairs:
            if labels[v, a] != labels[v, b]:
                cases += 1
                happens, other = (a, b) if labels[v, a] else (b, a)
                right += scores[v, happens] > scores[v, other]
                before, after = scores[v, a] - scores[v, b], again[v, a] - again[v, b]
                flips += (before > 0 > after) or (before < 0 < after)
    found = score_inverse_pairs(scores, again, labels, pairs)
    assert found.cases == cases
    assert (found.accuracy, found.flips) == (
        (right / cases, flips / cases) if cases else (None,) * 2
    )


def test_pairs_of_charades_and_of_the_world_are_read() -> None:
    pairs = read_inverse_pairs(CHARADES, ALL)
    assert len(pairs) == 26
    assert len({index for pair in pairs for index in pair}) == 52
    rules = load_rules()
    world = read_inverse_pairs("configs/world/actions.yaml", rules.action_ids)
    named = [(rules.action_ids[a], rules.action_ids[b]) for a, b in world]
    assert named == list(rules.inverse_pairs)
    assert {(ALL[a], ALL[b]) for a, b in pairs} < set(named)
    assert read_inverse_pairs(CHARADES, ["c001", "c002", "c008"]) == [(1, 0)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        "inverse_pairs: [[c001]]",
        "inverse_pairs: [ab, cd]",
        "inverse_pairs: {ab: 1}",
        "inverse_pairs: [[c001, c001]]",
        "inverse_pairs: [[c001, c002], [c002, c003]]",
        "actions: 3",
        "a: [b",
    ],
)
def test_invalid_files_are_rejected(tmp_path: Path, text: str) -> None:
    path = tmp_path / "pairs.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match="two class ids each expected"):
        read_inverse_pairs(str(path), ALL)
    with pytest.raises(UsageError, match="file not found"):
        read_inverse_pairs(str(tmp_path / "none.yaml"), ALL)
    with pytest.raises(UsageError, match="too long"):
        read_inverse_pairs("x" * 5000, ALL)
