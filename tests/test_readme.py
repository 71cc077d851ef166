"""Every command of the README runs; those that need data get small data of ours."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.pipeline.dataset_maker import write_dataset

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = re.findall(r"^    (python -m .+)$", (ROOT / "README.md").read_text(), re.MULTILINE)
SMALL = "detection.depth=26 detection.width=4 detection.short_side=48 detection.weights=random"
#: Proved by tests of their own: minutes of work, or a checkpoint that cannot be had here.
ELSEWHERE = ("tools.check_reference", "tools.convert_weights")


def test_the_readme_has_its_commands_and_make_its_targets() -> None:
    assert len(COMMANDS) >= 5
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^    make (\w+)$", (ROOT / "README.md").read_text(), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    assert "make test" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("command", [c for c in COMMANDS if not any(e in c for e in ELSEWHERE)])
def test_a_command_of_the_readme_runs(tmp_path: Path, command: str) -> None:
    videos, annotations = write_dataset(tmp_path)
    np.savez(tmp_path / "FILE.npz", scores=np.eye(4), labels=np.eye(4))
    places = {
        "VIDEOS": videos,
        "Charades_v1_480": videos,
        "annotations": annotations,
        "CACHE": tmp_path / "cache",
        "cache/oracle": tmp_path / "cache",
        "FILE.npz": tmp_path / "FILE.npz",
    }
    words = [str(places.get(word, word)) for word in shlex.split(command)[1:]]
    if "pipeline.extract" in words:
        words = [w for w in words if not w.startswith("detection.weights")] + SMALL.split()
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout
