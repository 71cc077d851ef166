"""Types of a stage: tasks, outcomes and the steps of a video."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch

from pipeline.config.schema import DecodeConfig
from pipeline.datasets import ClipAnnotation
from pipeline.datasets.video_files import VideoFile, video_sha256
from pipeline.decoding import FrameRequest, FrameStream
from pipeline.errors import FailureReason, ItemError
from pipeline.runtime.item_errors import as_item_error


@runtime_checkable
class EngineConfig(Protocol):
    """Settings that an engine reads. The settings of every stage contain them.

    Attributes:
        device: names of the devices.
        max_failures: largest number of failed videos, or None.
        decode: settings of video decoding.
    """

    device: str
    max_failures: int | None
    decode: DecodeConfig


@dataclass(frozen=True)
class Outcome:
    """Result of a task.

    Attributes:
        item: id of the video.
        status: `done`, `skipped` (the result already exists) or `failed`.
        error: error of a failed video. None if it failed before and was not retried.
        sha256: SHA-256 of the video file, or empty if it could not be read.
        failure_fingerprint: fingerprint of the task.
        row: line that the stage has added to the list of its results, or None.
    """

    item: str
    status: str
    error: ItemError | None = None
    sha256: str = ""
    failure_fingerprint: str = ""
    row: Any = None


@dataclass(frozen=True)
class Task:
    """A video to process.

    Attributes:
        video: file and id of the video.
        annotation: labels and annotated frames, or None.
        failed_before: SHA-256 of the video file when the video failed in an earlier run with the
            same settings. None if the video has not failed or is retried.
        failure_fingerprint: SHA-256 over everything that determines a failure, except the video
            file; see `Stage.failure_fingerprint`.
        error: known error of the video, or None.
        expected_sha256: SHA-256 of the video file according to `--checksums`, or None.
    """

    video: VideoFile
    annotation: ClipAnnotation | None = None
    failed_before: str | None = None
    failure_fingerprint: str = ""
    error: ItemError | None = None
    expected_sha256: str | None = None

    @property
    def video_id(self) -> str:
        """Id of the video."""
        return self.video.video_id

    def outcome(
        self, status: str, sha256: str, error: ItemError | None = None, row: Any = None
    ) -> Outcome:
        """Return an outcome of the task, see `Outcome`."""
        return Outcome(self.video_id, status, error, sha256, self.failure_fingerprint, row)


@dataclass(frozen=True)
class Examined:
    """A video to process.

    Attributes:
        task: task of the video.
        sha256: SHA-256 of the video file.
        fingerprint: fingerprint of the result.
        request: frames to decode, or None if no frames are required.
    """

    task: Task
    sha256: str
    fingerprint: str
    request: FrameRequest | None


FoundT = TypeVar("FoundT", bound=Examined)
ResultT = TypeVar("ResultT")
#: Function that processes the frames of an examined video on one device. The frames are None if
#: there is no request. It raises ItemError if the video cannot be processed, and UsageError if a
#: network cannot be built. A thread calls it for one video at a time.
Worker = Callable[[FoundT, FrameStream | None], ResultT]


@runtime_checkable
class Stage(Protocol[FoundT, ResultT]):
    """Steps of each video, with the inputs shared by all videos.

    An engine examines a video (`examine`), decodes its frames, processes them (`Worker`) and stores
    the result. Several threads call the methods. A stage can be sent to another process.
    """

    @property
    def config(self) -> EngineConfig:
        """Configuration of the command."""

    @property
    def folder(self) -> Path:
        """Folder of the results."""

    def failure_fingerprint(
        self, annotation: ClipAnnotation | None, bad: str | None, expected_sha256: str | None
    ) -> str:
        """Return the SHA-256 over everything that determines a failure, except the video file.

        Args:
            annotation: annotation of the video, or None.
            bad: message of a known error of the video, or None.
            expected_sha256: SHA-256 of the video file according to `--checksums`, or None.
        """

    def is_done(self, task: Task, sha256: str) -> bool:
        """Return whether the result of a video exists."""

    def prepare(self, task: Task, sha256: str) -> FoundT | None:
        """Prepare a video without a result. An ItemError is its failure.

        Returns:
            The prepared video, or None if another command has stored its result meanwhile.
        """

    def worker(self, device: torch.device) -> Worker[FoundT, ResultT]:
        """Return the worker of a device."""

    def store(self, found: FoundT, result: ResultT) -> Outcome:
        """Write the result of a video. An OSError or ItemError is its failure."""

    def failed(self, task: Task, error: ItemError, sha256: str = "") -> Outcome:
        """Return the outcome of a video that raised an error."""


def examine(stage: Stage[FoundT, ResultT], task: Task) -> Outcome | FoundT:
    """Determine whether a video must be processed.

    Returns:
        An `Outcome` if the video is done or has failed, and the prepared video otherwise.
    """
    sha256 = ""
    try:
        with as_item_error(task.video_id):
            sha256 = video_sha256(task.video.path)
            bad = task.error or _changed(task, sha256)
            if bad is None and stage.is_done(task, sha256):
                return task.outcome("skipped", sha256)
            if sha256 == task.failed_before:
                return task.outcome("failed", sha256)
            if bad is not None:
                raise bad
            return stage.prepare(task, sha256) or task.outcome("skipped", sha256)
    except ItemError as error:
        return stage.failed(task, error, sha256)


def failed_unless_there(stage: Stage[FoundT, ResultT], found: FoundT, error: ItemError) -> Outcome:
    """Return the outcome `failed`, or `skipped` if another command has stored the result."""
    if stage.is_done(found.task, found.sha256):
        return found.task.outcome("skipped", found.sha256)
    return stage.failed(found.task, error, found.sha256)


def _changed(task: Task, sha256: str) -> ItemError | None:
    if task.expected_sha256 in (None, sha256):
        return None
    return ItemError(
        FailureReason.CORRUPT_VIDEO,
        f"{task.video.path.name}: SHA-256 {task.expected_sha256} expected, got {sha256}; "
        "download the video again",
    )
