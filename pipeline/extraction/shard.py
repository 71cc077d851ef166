"""The part of the videos that one of several commands takes."""

import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.errors import UsageError

SLURM = "slurm"


@dataclass(frozen=True)
class Shard:
    """Part `index` (from 1) of `count` parts.

    A video belongs to the part 1 + crc32(id) mod count: whatever other videos there are.
    """

    index: int = 1
    count: int = 1

    def has(self, video_id: str) -> bool:
        """Whether a video is in this part."""
        return zlib.crc32(video_id.encode()) % self.count == self.index - 1

    @property
    def run_name(self) -> str:
        """File for the record of a run on this part."""
        return "run.json" if self.count == 1 else f"run-{self.index}-of-{self.count}.json"


def parse_shard(text: str, environment: Mapping[str, str] = os.environ) -> Shard:
    """Read `i/N`, i from 1 to N; `slurm` takes both from a job array's task.

    Raises:
        UsageError: if it is no such thing.
    """
    if text == SLURM:
        return _of_array(environment)
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(
            f"--shard: i/N with i from 1 to N expected, such as 1/4 to 4/4, or {SLURM} in a job "
            f"array, got {text!r}"
        )
    return Shard(int(match[1]), int(match[2]))


def _of_array(environment: Mapping[str, str]) -> Shard:
    names = [f"SLURM_ARRAY_TASK_{name}" for name in ("ID", "MIN", "MAX", "STEP", "COUNT")]
    try:
        task, low, high, step, count = (int(environment[name]) for name in names)
    except (KeyError, ValueError) as error:
        raise UsageError(
            f"--shard {SLURM}: a task of a job array expected (sbatch --array=1-N), there is "
            f"no {error}"
        ) from error
    if step < 1 or (high - low) // step + 1 != count or (task - low) % step:
        raise UsageError(
            f"--shard {SLURM}: an array of evenly spaced tasks expected, got {count} from {low} to "
            f"{high}; give --shard i/N yourself"
        )
    return Shard((task - low) // step + 1, count)
