"""Commands of the pipeline in child processes."""

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from pipeline.weights.files import ROOT


class Children:
    """Child processes of several threads, which can be terminated together."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._is_stopped = False

    def run(self, words: Sequence[str], log: Path) -> int:
        """Run `python -m WORDS` from the root of the repository, with one CPU thread.

        Args:
            words: name of the module and its arguments.
            log: file to which the output of the command is appended.

        Returns:
            The exit code of the command; negative if a signal ended it.
        """
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        with open(log, "ab") as file:
            with self._lock:
                if self._is_stopped:
                    return -1
                process = subprocess.Popen(
                    [sys.executable, "-m", *words],
                    cwd=ROOT,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                )
                self._running.add(process)
            code = process.wait()
            with self._lock:
                self._running.discard(process)
        return code

    def stop(self) -> None:
        """Terminate the running processes and start no further ones."""
        with self._lock:
            self._is_stopped = True
            for process in self._running:
                process.terminate()
