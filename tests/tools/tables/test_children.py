import signal
import threading
import time
from pathlib import Path

import pytest

from tools.tables.children import Children


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of modules that child processes can import."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def test_child_has_one_thread_and_appends_to_its_log(modules: Path, tmp_path: Path) -> None:
    program = "import os, sys; print(os.environ['OMP_NUM_THREADS'], sys.argv[1]); sys.exit(3)"
    (modules / "quick.py").write_text(program)
    children = Children()
    assert [children.run(["quick", word], tmp_path / "log") for word in ("a", "b")] == [3, 3]
    assert (tmp_path / "log").read_text() == "1 a\n1 b\n"


def test_stopped_children_are_terminated(modules: Path, tmp_path: Path) -> None:
    program = "import time; print('started', flush=True); time.sleep(60)"
    (modules / "sleeper.py").write_text(program)
    children, codes, log = Children(), list[int](), tmp_path / "log"
    thread = threading.Thread(target=lambda: codes.append(children.run(["sleeper"], log)))
    thread.start()
    end = time.monotonic() + 30
    while time.monotonic() < end and not (log.is_file() and "started" in log.read_text()):
        time.sleep(0.02)
    children.stop()
    thread.join(30)
    assert codes == [-signal.SIGTERM]
    assert children.run(["sleeper"], log) == -1
