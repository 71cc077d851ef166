"""How far a stage is: a bar on a terminal, a line a minute in a log."""

import logging
import sys
import time
from collections.abc import Callable

from tqdm import tqdm

from pipeline.runtime.run_record import Counts

LOGGER = logging.getLogger(__name__)
_EVERY_S = 60.0


class Progress:
    """Context that shows the counts of a run while they grow, under the name of its stage."""

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
        """One more item ended."""
        self._bar.update(1)
        self._bar.set_postfix_str(self._left(), refresh=False)
        now = self._clock()
        if not self._has_terminal and now - self._said >= _EVERY_S:
            self._said = now
            LOGGER.info("%s: %s; %s", self._name, self._counts, self._left())

    def _left(self) -> str:
        """Time for what is pending, if all of it takes as long as what was tried."""
        tried = self._counts.done + self._counts.failed
        if not tried:
            return ""
        seconds = self._counts.pending * (self._clock() - self._start) / tried
        return f"about {duration(seconds)} left"


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever reads best."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
