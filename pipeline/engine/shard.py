"""Division of the videos among several commands."""

import os
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipeline.datasets.video_files import VideoFile
from pipeline.errors import UsageError

SLURM = "slurm"


@dataclass(frozen=True)
class Shard:
    """One of several parts of the videos.

    A video belongs to part number 1 + crc32(id) mod `count`. Other videos do not affect it.

    Attributes:
        index: number of the part, from 1 to `count`.
        count: number of parts.
    """

    index: int = 1
    count: int = 1

    def has(self, video_id: str) -> bool:
        """Return whether a video belongs to this part."""
        return zlib.crc32(video_id.encode()) % self.count == self.index - 1

    def choose(self, videos: Iterable[VideoFile], limit: int | None) -> list[VideoFile]:
        """Return the first `limit` videos of this part, or all of them."""
        return [video for video in videos if self.has(video.video_id)][:limit]

    @property
    def run_name(self) -> str:
        """File name of the run record of this part."""
        return "run.json" if self.count == 1 else f"run-{self.index}-of-{self.count}.json"


def parse_shard(text: str, environment: Mapping[str, str] = os.environ) -> Shard:
    """Parse the value of `--shard`.

    Args:
        text: `i/N` with i from 1 to N, or `slurm`.
        environment: environment variables. `slurm` reads i and N from the variables of a job
            array task.

    Raises:
        UsageError: if the text is malformed, or the variables are missing or inconsistent.
    """
    if text == SLURM:
        return _of_array(environment)
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(
            f"--shard: i/N with i from 1 to N expected (such as 1/4), or {SLURM} in a job array, "
            f"got {text!r}"
        )
    return Shard(int(match[1]), int(match[2]))


def _of_array(environment: Mapping[str, str]) -> Shard:
    names = [f"SLURM_ARRAY_TASK_{name}" for name in ("ID", "MIN", "MAX", "STEP", "COUNT")]
    try:
        task, low, high, step, count = (int(environment[name]) for name in names)
    except (KeyError, ValueError) as error:
        raise UsageError(
            f"--shard {SLURM}: environment of a job array task expected (sbatch --array=1-N), "
            f"missing or invalid: {error}"
        ) from error
    if step < 1 or (high - low) // step + 1 != count or (task - low) % step:
        raise UsageError(
            f"--shard {SLURM}: a job array with evenly spaced tasks expected, got {count} tasks "
            f"from {low} to {high}; use --shard i/N instead"
        )
    return Shard((task - low) // step + 1, count)
