"""Tests of damaged cells, and of cells with damaged scores, of `tools.reproduce`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import UsageError
from tests.tools.test_reproduce import FakeRunner, cache, runner, tiny, words  # noqa: F401
from tools import reproduce

#: Fields of damaged cells, and the schema of cells of an earlier version.
DAMAGE: tuple[dict, ...] = (
    {"metrics": []},
    {"metrics": {"mar": None}},
    {"metrics": {"mar": "0.5"}},
    {"seconds": None},
    {"seconds": True},
    {"warnings": "abc"},
    {"warnings": [{}]},
    {"resamples": None},
)
OLD = {"schema": "laiar.cell/1"}


@pytest.mark.usefixtures("tiny")
def test_damaged_cells_and_cells_of_earlier_versions_are_refused(
    cache: Path,  # noqa: F811
    tmp_path: Path,
    runner: FakeRunner,  # noqa: F811
) -> None:
    out = tmp_path / "out"
    assert reproduce.main(words(cache, out), runner=runner) == 0
    path = out / "cells" / "none_fold1_seed0.json"
    tree = json.loads(path.read_text())
    for changes in DAMAGE:
        path.write_text(json.dumps(tree | changes))
        with pytest.raises(UsageError, match=r"none_fold1_seed0\.json is damaged.*delete it"):
            reproduce.main(words(cache, out), runner=runner)
    path.write_text(json.dumps({k: v for k, v in tree.items() if k != "resamples"} | OLD))
    with pytest.raises(UsageError, match=r"a cell of schema laiar\.cell/2 expected"):
        reproduce.main(words(cache, out), runner=runner)


@pytest.mark.parametrize("damage", ["missing", "text", "no ids", "NaN"])
@pytest.mark.usefixtures("tiny")
def test_cell_without_valid_scores_fails_and_does_not_stop_the_others(
    cache: Path,  # noqa: F811
    tmp_path: Path,
    damage: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Damaging(FakeRunner):
        def __call__(self, words: Sequence[str], log: Path) -> int:
            code = super().__call__(words, log)
            path = Path(words[words.index("--run") + 1]) / "scores.npz"
            if path.is_file() and "none_fold2" in path.parent.name:
                arrays: dict[str, Any] = {"scores": np.full((2, 2), np.nan), "labels": np.eye(2)}
                arrays |= {"ids": np.array(["V0_0_9", "V1_0_9"])} if damage == "NaN" else {}
                np.savez(path, **arrays)
                if damage == "missing":
                    path.unlink()
                elif damage == "text":
                    path.write_text("no archive")
            return code

    assert reproduce.main(words(cache, tmp_path / "out"), runner=Damaging()) == 1
    shown = capsys.readouterr().out
    assert "none_fold2_seed0: failed: none_fold2_seed0: " in shown
    assert "scores.npz: scores expected" in shown
    assert "cells: 3 of 4 finished, 1 failed" in shown
