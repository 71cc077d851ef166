"""Steps of the prediction of each video."""

import logging
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch

from pipeline.config.schema import Config
from pipeline.datasets import ClipAnnotation
from pipeline.datasets.ids import is_safe_id
from pipeline.datasets.video_files import VideoFile
from pipeline.decoding import FrameStream
from pipeline.engine.stage import Outcome, Task, Worker
from pipeline.errors import FailureReason, ItemError
from pipeline.explanation.edits import Edit, edited_fingerprint
from pipeline.explanation.formats import DEFAULT, Format
from pipeline.explanation.output import is_saved, remove, save
from pipeline.explanation.prediction_rows import FailedRow, PredictionRows, prediction_row
from pipeline.extraction.clip import failure_limits
from pipeline.prediction.explainer import Explained, Explainer
from pipeline.prediction.job import ExaminedVideo, PredictionJob
from pipeline.runtime.files import json_sha256
from pipeline.runtime.item_errors import as_item_error

LOGGER = logging.getLogger("predict")


@dataclass(frozen=True)
class PredictionSteps:
    """Stage that explains videos, see `pipeline.engine.stage.Stage`.

    The earlier explanation of a video that fails is removed.

    Attributes:
        job: inputs of the prediction.
        folder: output folder.
        formats: formats of the explanations.
        edits: edits of each video.
    """

    job: PredictionJob
    folder: Path
    formats: tuple[Format, ...] = DEFAULT
    edits: tuple[Edit, ...] = ()

    @property
    def config(self) -> Config:
        """Configuration of the command."""
        return self.job.config

    def failure_fingerprint(
        self, annotation: ClipAnnotation | None, bad: str | None, expected_sha256: str | None
    ) -> str:
        """Return the SHA-256 over everything that determines a failure, except the video file."""
        any_video = Task(VideoFile(Path("video"), "video"), annotation)
        wanted = self.job.examine(any_video, "").fingerprint
        mark = annotation.fingerprint() if annotation else bad
        files = [self.formats, [edit.to_dict() for edit in self.edits]]
        return json_sha256([wanted, failure_limits(self.config), files, mark, expected_sha256])

    def is_done(self, task: Task, sha256: str) -> bool:
        """Return whether the explanation of a video exists in all formats."""
        fingerprint = edited_fingerprint(self.job.examine(task, sha256).fingerprint, self.edits)
        folder = self.folder / task.video_id
        return is_saved(folder, fingerprint, self.formats) and self._rows.has(
            task.video_id, fingerprint
        )

    def prepare(self, task: Task, sha256: str) -> ExaminedVideo:
        """Prepare the explanation of a video."""
        return self.job.examine(task, sha256)

    def worker(self, device: torch.device) -> Worker[ExaminedVideo, Explained]:
        """Return the function that explains videos on a device and makes the edits.

        Its result contains no tensors of the device, so that it can wait to be stored.
        """
        explainer = Explainer.load(self.job, device)

        def run(found: ExaminedVideo, frames: FrameStream | None) -> Explained:
            assert frames is not None
            explained = explainer.explain(found, frames)
            explanation = explained.explanation.what_if(*self.edits)
            return replace(explained, explanation=replace(explanation, editable=None))

        return run

    def store(self, found: ExaminedVideo, result: Explained) -> Outcome:
        """Write the files of a video and its line in `predictions.jsonl`.

        If a file cannot be written, the others are, and the outcome is `failed`.
        """
        explanation, task = result.explanation, found.task
        row = prediction_row(explanation, result.scores, self.formats)
        plain = [kind for kind in self.formats if kind is not Format.VIDEO]
        path, options = task.video.path, found.request.options
        try:
            with as_item_error(task.video_id):
                try:
                    save(explanation, self.folder, plain, path)
                finally:
                    self._rows.append(row)
                if explanation.predictions:
                    LOGGER.info("%s: %s", task.video_id, explanation.predictions[0].sentence)
                if Format.VIDEO in self.formats:
                    save(explanation, self.folder, [Format.VIDEO], path, options)
        except ItemError as error:
            return task.outcome("failed", found.sha256, error, row)
        return task.outcome("done", found.sha256, row=row)

    def failed(self, task: Task, error: ItemError, sha256: str = "") -> Outcome:
        """Return the outcome of a video that raised an error, and remove its explanation.

        An edit that does not fit leaves the explanation.
        """
        row = None
        if error.reason is not FailureReason.NO_SUCH_RELATION:
            if is_safe_id(task.video_id):
                remove(self.folder / task.video_id)
            row = FailedRow(task.video_id, "failed", error.reason.value)
            self._rows.append(row)
        return task.outcome("failed", sha256, error, row)

    @cached_property
    def _rows(self) -> PredictionRows:
        return PredictionRows(self.folder)
