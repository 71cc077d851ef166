"""Counts, failures and the budget of a run."""

import logging
from contextlib import closing
from pathlib import Path
from typing import Any

from pipeline.engine.local import LocalEngine
from pipeline.engine.ray import RayEngine
from pipeline.engine.stage import Outcome, Task
from pipeline.runtime.failures import Failures, log_failure
from pipeline.runtime.progress import Progress
from pipeline.runtime.run_record import RunRecord
from pipeline.runtime.writers import living_writers, sweep_temporary_files


class Accounts:
    """One run of a stage, which counts outcomes and records failures.

    Args:
        run: record of the run; its counts are updated.
        stage: name of the stage.
        videos: video folder of the run, for an output folder of several video folders.
    """

    def __init__(self, run: RunRecord, stage: str, videos: Path | None = None) -> None:
        self.run_record, self._stage, self._videos = run, stage, videos
        self.failures = Failures(run.folder)
        self._logger = logging.getLogger(stage)

    def run(
        self, engine: LocalEngine[Any, Any] | RayEngine, tasks: list[Task], budget: int | None
    ) -> dict[str, Any]:
        """Process the videos.

        Args:
            engine: engine that processes the tasks.
            tasks: the videos.
            budget: largest number of failures, or None. The run stops after more failures.

        Returns:
            Mapping from the id of each video to the line that the run has written for it
            (`Outcome.row`).
        """
        counts = self.run_record.counts
        counts.found = len(tasks)
        written: dict[str, Any] = {}
        with Progress(counts, self._stage) as progress, closing(engine.run(tasks)) as outcomes:
            for outcome in outcomes:
                self._account(outcome)
                if outcome.row is not None:
                    written[outcome.item] = outcome.row
                progress.update()
                if budget is not None and counts.failed > budget:
                    self._logger.error(
                        "stopped: %d failures, at most %d allowed", counts.failed, budget
                    )
                    break
            else:
                counts.check()
        return written

    def report(self) -> None:
        """Print the counts and the path of the failures."""
        counts = self.run_record.counts
        print(f"{self._stage}: {counts}")
        if counts.failed:
            path = self.run_record.folder / "failures.jsonl"
            print(f"failures: {path}; use --retry-failed to try them again")

    def _account(self, outcome: Outcome) -> None:
        counts = self.run_record.counts
        setattr(counts, outcome.status, getattr(counts, outcome.status) + 1)
        if outcome.error is not None:
            log_failure(self._logger, outcome.item, outcome.error)
            self.failures.add(
                outcome.item,
                outcome.error,
                stage=self._stage,
                sha256=outcome.sha256,
                fingerprint=outcome.failure_fingerprint,
                videos=self._videos,
            )
        elif outcome.status != "failed":
            self.failures.remove(outcome.item)


def look_around(folder: Path, stage: str, *, is_shared: bool) -> None:
    """Remove leftover temporary files and warn about other processes that write to the folder.

    Args:
        folder: output folder.
        stage: name of the stage.
        is_shared: whether other processes are expected.
    """
    logger = logging.getLogger(stage)
    for path in sweep_temporary_files(folder):
        logger.info("removed %s, a leftover temporary file of a killed run", path.name)
    others = living_writers(folder)
    if others and not is_shared:
        logger.warning(
            "%d other processes write to %s (%s); without --shard, a video may be processed twice",
            len(others),
            folder,
            ", ".join(others),
        )
