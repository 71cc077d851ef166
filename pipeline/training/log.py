"""Training log `log.jsonl` and optional TensorBoard files.

The log contains one line per step and one line per epoch.
"""

import json
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError
from pipeline.runtime.files import write_atomically

LOG_FILE = "log.jsonl"


class TrainingLog:
    """Log of a training run.

    Args:
        run: run folder.
        tensorboard: whether to also write TensorBoard files to `run/tensorboard`.

    Raises:
        UsageError: if `tensorboard` is True and the package tensorboard is not installed.
    """

    def __init__(self, run: Path, *, tensorboard: bool = False) -> None:
        self.path = run / LOG_FILE
        self._board: Any = _summary_writer(run / "tensorboard") if tensorboard else None

    def rewind(self, step: int, epoch: int) -> None:
        """Remove the lines that were written after a checkpoint.

        Args:
            step: number of finished steps at the checkpoint.
            epoch: number of finished epochs at the checkpoint.
        """
        if not self.path.is_file():
            return
        kept = []
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
                if row["step"] < step if row["kind"] == "step" else row["epoch"] <= epoch:
                    kept.append(line + "\n")
            except (ValueError, KeyError, TypeError):
                continue
        write_atomically(self.path, "".join(kept).encode())

    def add(self, kind: str, **row: Any) -> None:
        """Append a line.

        Args:
            kind: `step` or `epoch`.
            row: values of the line. If TensorBoard files are written, `step` is required.
        """
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind} | row) + "\n")
        if self._board is not None:
            for name, value in _scalars(row):
                self._board.add_scalar(f"{kind}/{name}", value, row["step"])

    def close(self) -> None:
        """Close the TensorBoard file."""
        if self._board is not None:
            self._board.close()


def _scalars(row: dict[str, Any]) -> list[tuple[str, float]]:
    flat: list[tuple[str, float]] = []
    for name, value in row.items():
        if isinstance(value, dict):
            flat += [(f"{name}/{key}", number) for key, number in _scalars(value)]
        elif isinstance(value, int | float):
            flat.append((name, float(value)))
    return flat


def _summary_writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError(
            "tensorboard=true: the package tensorboard is not installed; run pip install "
            "tensorboard, or omit the setting"
        ) from error
    return SummaryWriter(str(folder))
