"""Steps of the extraction of each video (examine, extract, store)."""

import threading
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from detection.detector import Detector
from pipeline.cache.clip import CachedClip, ClipHeader
from pipeline.cache.folder import ExtractionSettings, clip_path, replace_clip, store_clip
from pipeline.cache.listing import open_clip
from pipeline.cache.manifest import Manifest
from pipeline.cache.reader import load_clip
from pipeline.cache.union_features import reduce_union
from pipeline.config.schema import Config, UnionKind
from pipeline.datasets import ClipAnnotation
from pipeline.datasets.video_files import VideoFile, video_sha256
from pipeline.decoding import FrameRequest, FrameStream
from pipeline.errors import FailureReason, ItemError
from pipeline.extraction.clip import (
    ClipExtractor,
    clip_fingerprint,
    decode_options,
    extraction_settings,
    frame_request,
)
from pipeline.extraction.labels import relabelled
from pipeline.extraction.relation_prediction import with_predicted
from pipeline.runtime.files import json_sha256
from pipeline.runtime.item_errors import as_item_error
from pipeline.weights.detectors import ResolvedDetector
from pipeline.weights.predictors import PredictorFile, load_predictor
from relations.sttran import STTran

#: Lock for the construction of networks, which uses the global random generators.
_BUILDING = threading.Lock()


@dataclass(frozen=True)
class Task:
    """A video to extract.

    Attributes:
        video: file and id of the video.
        annotation: labels and annotated frames, or None.
        failed_before: SHA-256 of the video file when the video failed in an earlier run with the
            same settings. None if the video has not failed or is retried.
        failure_fingerprint: SHA-256 over everything that determines a failure, except the video
            file; see the function `failure_fingerprint`.
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


@dataclass(frozen=True)
class Outcome:
    """Result of a task.

    Attributes:
        item: id of the video.
        status: `done`, `skipped` (the cache already contains the clip) or `failed`.
        error: error of a failed video. None if it failed before and was not retried.
        sha256: SHA-256 of the video file, or empty if it could not be read.
        failure_fingerprint: fingerprint of the task.
        row: manifest line of the clip that was written, or None.
    """

    item: str
    status: str
    error: ItemError | None = None
    sha256: str = ""
    failure_fingerprint: str = ""
    row: dict[str, Any] | None = None


@dataclass(frozen=True)
class Examined:
    """A video to extract, or a cached clip whose relations or labels must be completed.

    Attributes:
        task: task of the video.
        sha256: SHA-256 of the video file.
        fingerprint: fingerprint of the clip.
        request: frames to decode, or None for a cached clip that lacks predicted relations or has
            other labels than the annotation.
        row: manifest line of the cached clip; empty for a video to extract.
    """

    task: Task
    sha256: str
    fingerprint: str
    request: FrameRequest | None
    row: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Steps:
    """Steps of the extraction of each video, with the inputs shared by all videos.

    Attributes:
        config: configuration of the command.
        cache: folder of the cache.
        detector: description of the detector.
        objects: names of the O object classes.
        predictor: relation predictor, or None if `relations` is not `predicted`.
        verify: whether to compare every byte of existing clips with the manifest.
    """

    config: Config
    cache: Path
    detector: ResolvedDetector
    objects: tuple[str, ...]
    predictor: PredictorFile | None = None
    verify: bool = False

    @property
    def settings(self) -> ExtractionSettings:
        """Settings that determine the content of clips."""
        return extraction_settings(self.config, self.objects)

    def examine(self, task: Task, manifest: Manifest) -> Outcome | Examined:
        """Determine whether a video must be extracted.

        Args:
            task: task of the video.
            manifest: manifest of the cache.

        Returns:
            An `Outcome` if the video is done or has failed, and an `Examined` otherwise.
        """
        try:
            with as_item_error(task.video_id):
                sha256 = video_sha256(task.video.path)
                try:
                    return self._decide(task, sha256, manifest)
                except ItemError as error:
                    return self.failed(task, error, sha256)
        except ItemError as error:
            return self.failed(task, error)

    def store(self, found: Examined, clip: CachedClip) -> Outcome:
        """Write a clip to the cache.

        Args:
            found: the examined video.
            clip: clip of the video.

        Raises:
            OSError: see `pipeline.cache.folder.store_clip`.
            ItemError: see `pipeline.cache.folder.store_clip`.
        """
        if found.request is None:
            row = replace_clip(self.cache, clip, found.row)
        else:
            row = store_clip(self.cache, clip)
        task = found.task
        return Outcome(task.video_id, "done", None, found.sha256, task.failure_fingerprint, row)

    def failed(self, task: Task, error: ItemError, sha256: str = "") -> Outcome:
        """Return the outcome of a video that raised an error."""
        return Outcome(task.video_id, "failed", error, sha256, task.failure_fingerprint)

    def failed_unless_there(self, found: Examined, error: ItemError) -> Outcome:
        """Return the outcome `failed`, or `skipped` if another command has stored the clip."""
        task, row = found.task, Manifest(self.cache).rows().get(found.task.video_id)
        if row is not None and self._is_done(task, found.fingerprint, row):
            return Outcome(task.video_id, "skipped", None, found.sha256, task.failure_fingerprint)
        return self.failed(task, error, found.sha256)

    def _decide(self, task: Task, sha256: str, manifest: Manifest) -> Outcome | Examined:
        bad = task.error
        if bad is None and task.expected_sha256 not in (None, sha256):
            bad = ItemError(
                FailureReason.CORRUPT_VIDEO,
                f"{task.video.path.name}: SHA-256 {task.expected_sha256} expected, got {sha256}; "
                "download the video again",
            )
        fingerprint = clip_fingerprint(sha256, self.settings, self.detector, task.annotation)
        row = manifest.rows().get(task.video_id)
        if bad is None and row is not None and self._is_done(task, fingerprint, row):
            return Outcome(task.video_id, "skipped", None, sha256, task.failure_fingerprint)
        if sha256 == task.failed_before:
            return Outcome(task.video_id, "failed", None, sha256, task.failure_fingerprint)
        if bad is not None:
            raise bad
        # A predictor requires all union channels. If they are not stored, extract the video again.
        header = None if row is None else self._find(task, fingerprint, row, verify=True)
        if header is not None and (self._is_predicted(header) or self._is_full()):
            return Examined(task, sha256, fingerprint, None, row or {})
        request = frame_request(
            task.video.path,
            sha256,
            task.annotation,
            self.settings,
            options=decode_options(self.config.decode),
            batch_size=self.config.detection.batch_size,
        )
        return Examined(task, sha256, fingerprint, request)

    def _is_done(self, task: Task, fingerprint: str, row: dict[str, Any]) -> bool:
        """Return whether the cache contains the clip with all required relations and labels."""
        header = self._find(task, fingerprint, row, verify=self.verify)
        labels = task.annotation.labels_fingerprint() if task.annotation else None
        return header is not None and header.labels == labels and self._is_predicted(header)

    def _is_predicted(self, header: ClipHeader) -> bool:
        """Return whether a clip has the required predicted relations."""
        return self.predictor is None or header.predictor == self.predictor.to_dict()

    def _is_full(self) -> bool:
        return self.config.union is UnionKind.full

    def _find(
        self, task: Task, fingerprint: str, row: dict[str, Any], *, verify: bool
    ) -> ClipHeader | None:
        """Return the header of an undamaged cached clip with this fingerprint, or None."""
        try:
            header = open_clip(self.cache, task.video_id, row, verify=verify).header
        except ItemError:
            return None
        return header if header.fingerprint == fingerprint == row.get("fingerprint") else None


class Networks:
    """Detector and relation predictor on one device. Each is built when it is first used.

    Args:
        steps: steps of the extraction.
        device: device of the networks.
    """

    def __init__(self, steps: Steps, device: torch.device) -> None:
        self.steps, self.device = steps, device

    def extract(self, found: Examined, frames: FrameStream | None) -> CachedClip:
        """Extract the clip of a video, or complete a cached clip.

        The clip has predicted relations if there is a predictor.

        Args:
            found: the examined video.
            frames: decoded frames of `found.request`, or None if there is no request.

        Raises:
            ItemError: if the video cannot be extracted.
            UsageError: if a network cannot be built.
        """
        steps, task = self.steps, found.task
        if frames is None:
            clip = relabelled(load_clip(clip_path(steps.cache, task.video_id)), task.annotation)
        else:
            clip = self._extractor.extract(
                frames, task.video_id, fingerprint=found.fingerprint, annotation=task.annotation
            )
        if steps.predictor is not None and clip.header.predictor != steps.predictor.to_dict():
            clip = with_predicted(clip, self._predictor, steps.predictor.to_dict())
        return clip if frames is None else reduce_union(clip, steps.config.union.value)

    @property
    def detector(self) -> Detector:
        """Detector, which is built when it is first used."""
        return self._extractor.network

    @cached_property
    def _extractor(self) -> ClipExtractor:
        steps = self.steps
        with _BUILDING:
            network = steps.detector.load(steps.objects, self.device)
        return ClipExtractor(network, steps.detector, steps.settings, self.device)

    @cached_property
    def _predictor(self) -> STTran:
        assert self.steps.predictor is not None
        with _BUILDING:
            return load_predictor(self.steps.predictor, self.device)


def failure_fingerprint(
    steps: Steps, annotation: ClipAnnotation | None, bad: str | None, expected_sha256: str | None
) -> str:
    """Return the SHA-256 over everything that determines a failure, except the video file.

    Args:
        steps: steps of the extraction.
        annotation: annotation of the video, or None.
        bad: message of the error in the annotation, or None.
        expected_sha256: SHA-256 of the video file according to `--checksums`, or None.
    """
    mark = annotation.fingerprint() if annotation else bad
    decode, batch_size = steps.config.decode, steps.config.detection.batch_size
    limits = [decode.max_pixels, decode.max_frames, decode.timeout_s, decode.memory_gb, batch_size]
    settings, detector = steps.settings.to_dict(), steps.detector.to_dict()
    return json_sha256([settings, detector, limits, mark, expected_sha256])
