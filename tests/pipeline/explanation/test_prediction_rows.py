import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.explanation.prediction_rows import (
    FailedRow,
    PredictionRow,
    PredictionRows,
    TopAction,
)
from pipeline.runtime.writers import LOCK

ROW: dict[str, Any] = {
    "id": "a",
    "status": "done",
    "top": [{"class_id": "c000", "name": "Reading", "score": 0.5}],
    "scores": [0.5, 1],
    "kept": 1,
    "tokens": 2,
    "warnings": ["NO_OBJECT"],
    "explanation": None,
    "fingerprint": "f",
}
FAILED = {"id": "b (x/b.mp4)", "status": "failed", "reason": "duplicate-id"}


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    assert PredictionRows(tmp_path).rows() == {}
    rows = PredictionRow.from_dict(ROW), FailedRow.from_dict(FAILED)
    assert rows[0].top == (TopAction("c000", "Reading", 0.5),)
    for row in rows:
        PredictionRows(tmp_path).append(row)
    lines = (tmp_path / "predictions.jsonl").read_text().splitlines()
    assert lines == [json.dumps(ROW), json.dumps(FAILED)]
    assert PredictionRows(tmp_path).rows() == {row.id: row for row in rows}


@pytest.mark.parametrize(
    "row",
    [
        ROW | {"scores": ["1"]},
        ROW | {"scores": [float("nan")]},
        ROW | {"id": "../a"},
        ROW | {"status": "skipped"},
        ROW | {"more": 1},
        ROW | {"kept": True},
        ROW | {"top": [{"class_id": "c000"}]},
        {"id": "a"},
        FAILED | {"reason": "fun"},
        FAILED | {"status": ["failed"]},
        ["a"],
        7,
    ],
)
def test_invalid_lines_are_ignored(tmp_path: Path, row: Any) -> None:
    good = ROW | {"id": "z"}
    text = json.dumps(row) + "\n" + json.dumps(good) + "\n{"
    (tmp_path / "predictions.jsonl").write_text(text)
    assert PredictionRows(tmp_path).rows() == {"z": PredictionRow.from_dict(good)}


def test_end_of_a_run_restores_missing_lines_and_sorts_them(tmp_path: Path) -> None:
    made = {item: PredictionRow.from_dict(ROW | {"id": item}) for item in ("a", "b", "c")}
    for item in ("c", "b", "c"):
        PredictionRows(tmp_path).append(made[item])
    PredictionRows(tmp_path).settle({item: made[item] for item in ("a", "b")})
    assert [*PredictionRows(tmp_path).rows().values()] == [made["a"], made["b"], made["c"]]
    assert {path.name for path in tmp_path.iterdir()} <= {"predictions.jsonl", LOCK}


def test_end_of_a_run_keeps_the_lines_of_other_versions(tmp_path: Path) -> None:
    later = ROW | {"id": "z", "more": 1}
    (tmp_path / "predictions.jsonl").write_text(json.dumps(later) + "\n")
    PredictionRows(tmp_path).settle({"a": PredictionRow.from_dict(ROW)})
    lines = (tmp_path / "predictions.jsonl").read_text().splitlines()
    assert [*map(json.loads, lines)] == [ROW, later]


def test_lines_of_other_processes_become_known(tmp_path: Path) -> None:
    known = PredictionRows(tmp_path)
    assert not known.has("a", "f")
    PredictionRows(tmp_path).append(PredictionRow.from_dict(ROW))
    assert known.has("a", "f")
    assert not known.has("a", "of other settings")
    PredictionRows(tmp_path).append(FailedRow("a", "failed", "no-frames"))
    assert not known.has("b", "f")
    assert not known.has("a", "f")
