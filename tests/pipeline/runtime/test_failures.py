import json
import logging
from pathlib import Path

import pytest

from pipeline.errors import FailureReason, ItemError, UsageError
from pipeline.runtime.failures import Failures
from pipeline.runtime.files import make_folder

LOGGER = logging.getLogger(__name__)


def lines(folder: Path) -> dict[str, dict]:
    rows = [json.loads(line) for line in (folder / "failures.jsonl").read_text().splitlines()]
    return {row["id"]: row for row in rows}


def test_replace_removes_failures_of_the_previous_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = {name: ItemError(FailureReason.BAD_CACHE, f"{name} is cut") for name in "ab"}
    Failures(tmp_path).replace(first, stage="train", logger=LOGGER)
    assert sorted(lines(tmp_path)) == ["a", "b"]
    assert "a failed: bad-cache: a is cut" in caplog.text
    Failures(tmp_path).replace({"b": first["b"]}, stage="train", logger=LOGGER)
    row = lines(tmp_path)
    assert sorted(row) == ["b"]
    assert (row["b"]["attempts"], row["b"]["input_sha256"], row["b"]["settings"]) == (2, "", "")
    Failures(tmp_path).replace({}, stage="train", logger=LOGGER)
    assert not lines(tmp_path)


def test_damaged_lines_are_ignored_and_removed_by_the_next_change(tmp_path: Path) -> None:
    error = ItemError(FailureReason.CORRUPT_VIDEO, "x: broken")
    for item in "abc":
        Failures(tmp_path).add(item, error, stage="extract", sha256=item)
    first = lines(tmp_path)
    text = (tmp_path / "failures.jsonl").read_text()
    damaged = text.replace('"attempts": 1', '"attempts": "1"', 1) + '{"id": "d"}\n{"id": "e"\n[1]\n'
    (tmp_path / "failures.jsonl").write_text(damaged)
    failures = Failures(tmp_path)
    assert failures.known("a") is failures.known("d") is None
    known = failures.known("b")
    assert known is not None
    assert known.to_dict() == first["b"]
    failures.remove("c")
    assert lines(tmp_path) == {"b": first["b"]}


def test_error_for_a_folder_that_cannot_be_created_names_the_flag(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b", "--out")
    make_folder(tmp_path / "a" / "b", "--out")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="--out: a writable folder expected"):
        make_folder(tmp_path / "file", "--out")
