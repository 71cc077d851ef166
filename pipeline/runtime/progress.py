"""Progress display of a stage."""

import logging
import sys
import time
from collections.abc import Callable

from tqdm import tqdm

from pipeline.runtime.run_record import Counts

LOGGER = logging.getLogger(__name__)
_EVERY_S = 60.0


class Progress:
    """Context manager that displays the progress of a stage.

    If standard error is a terminal, a bar is displayed. Otherwise, one line is logged per minute.

    Args:
        counts: counts of the run, which the caller updates.
        name: name of the stage.
        clock: function that returns the time in seconds.
    """

    def __init__(
        self, counts: Counts, name: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._counts, self._name, self._clock = counts, name, clock
        self._start = self._said = clock()
        self._has_terminal = sys.stderr.isatty()

    def __enter__(self) -> "Progress":
        self._bar = tqdm(
            total=self._counts.found, desc=self._name, unit="video", disable=not self._has_terminal
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def update(self) -> None:
        """Update the display after one more item."""
        self._bar.update(1)
        self._bar.set_postfix_str(self._left(), refresh=False)
        now = self._clock()
        if not self._has_terminal and now - self._said >= _EVERY_S:
            self._said = now
            LOGGER.info("%s: %s; %s", self._name, self._counts, self._left())

    def _left(self) -> str:
        """Return the remaining time, estimated from the mean time per processed item."""
        tried = self._counts.done + self._counts.failed
        if not tried:
            return ""
        seconds = self._counts.pending * (self._clock() - self._start) / tried
        return f"about {duration(seconds)} left"


def duration(seconds: float) -> str:
    """Format a duration in seconds, minutes or hours."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
