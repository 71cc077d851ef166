"""Tests of `tools.faults` in a separate process, because the command forks."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from tools import faults

ROOT = Path(__file__).resolve().parent.parent.parent


def test_small_sample_of_every_family_passes(tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    words = ["--scale", "0.02", "--seed", "3", "--json", str(path), "--keep", str(tmp_path / "k")]
    done = subprocess.run(
        [sys.executable, "-m", "tools.faults", *words], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    rows = {row["family"]: row for row in json.loads(path.read_text())["families"]}
    assert rows.keys() == faults.FAMILIES.keys()
    assert all(row["tried"] == row["held"] for row in rows.values())
    assert rows["checksums"]["tried"] == 20
    assert all(row["tried"] > 0 or "skipped" in row["notes"] for row in rows.values())


def test_invalid_arguments_are_rejected() -> None:
    with pytest.raises(UsageError, match="--scale"):
        faults.main(["--scale", "0"])
    with pytest.raises(UsageError, match="invalid choice"):
        faults.main(["--only", "luck"])
