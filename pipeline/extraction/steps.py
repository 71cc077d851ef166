"""The three steps of a video: examine it, extract a clip, store the clip."""

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from detection.detector import Detector
from pipeline.cache.clip import CachedClip, ClipReader, load_clip
from pipeline.cache.folder import Manifest, clip_path, is_known_file, replace_clip, store_clip
from pipeline.cache.union_features import reduce_union
from pipeline.config.schema import Config, UnionKind
from pipeline.datasets import ClipAnnotation
from pipeline.datasets.video_files import VideoFile, video_sha256
from pipeline.decoding import FrameRequest, FrameStream
from pipeline.errors import FailureReason, ItemError
from pipeline.extraction.clip import ClipExtractor, clip_fingerprint, frame_request
from pipeline.extraction.relation_prediction import with_predicted
from pipeline.runtime.files import json_sha256
from pipeline.weights.detectors import DetectorIdentity, load_detector
from pipeline.weights.predictors import PredictorFile, load_predictor
from relations.sttran import STTran

#: Building draws random numbers for a moment, from generators that threads share.
_BUILDING = threading.Lock()


@dataclass(frozen=True)
class Task:
    """A video to extract.

    Attributes:
        video: the file and its id.
        annotation: labels and annotated frames, or None.
        failed_before: sha256 of the bytes with which it failed under the same settings, where that
            is known and it is not to be tried again; else None.
        failure_key: hash of what besides the bytes determines a failure.
        error: what is known to be wrong with it, if anything.
        expected_sha256: of its bytes, where a list of checksums has it.
    """

    video: VideoFile
    annotation: ClipAnnotation | None = None
    failed_before: str | None = None
    failure_key: str = ""
    error: ItemError | None = None
    expected_sha256: str | None = None

    @property
    def video_id(self) -> str:
        """Id of the video."""
        return self.video.video_id


@dataclass(frozen=True)
class Outcome:
    """How one video ended.

    Attributes:
        item: id of the video.
        status: `done`, `skipped` (it was there) or `failed`.
        error: why it failed; None also where it failed before and was not tried.
        sha256: of the video, as far as it could be read.
        failure_key: of the task.
        row: the line of the clip written.
    """

    item: str
    status: str
    error: ItemError | None = None
    sha256: str = ""
    failure_key: str = ""
    row: dict[str, Any] | None = None


@dataclass(frozen=True)
class Examined:
    """A video that needs work.

    Attributes:
        task: the video.
        sha256: of its bytes.
        fingerprint: of what determines its clip.
        request: the frames to decode; None where the clip is there and only lacks predictions.
        row: line of that clip.
    """

    task: Task
    sha256: str
    fingerprint: str
    request: FrameRequest | None
    row: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Steps:
    """What all videos of a command have in common, and the steps each goes through.

    Attributes:
        config: of the command.
        cache: folder to write.
        settings: `extraction_settings`.
        identity: of the detector.
        objects: O class names of the vocabulary.
        predictor: of relations=predicted, or None.
        verify: compare the bytes of clips that are there with the manifest.
    """

    config: Config
    cache: Path
    settings: dict[str, Any]
    identity: DetectorIdentity
    objects: tuple[str, ...]
    predictor: PredictorFile | None = None
    verify: bool = False

    def examine(self, task: Task, manifest: Manifest) -> Outcome | Examined:
        """What there is to do for a video, or that there is nothing.

        Raises:
            ItemError: if its bytes cannot be read.
        """
        path = task.video.path
        try:
            sha256 = video_sha256(path)
        except FileNotFoundError as error:
            raise ItemError(
                FailureReason.MISSING_VIDEO, f"{path}: a video expected, there is no file"
            ) from error
        try:
            return self._decide(task, sha256, manifest)
        except ItemError as error:
            return self.failed(task, error, sha256)

    def store(self, found: Examined, clip: CachedClip) -> Outcome:
        """Write a clip; see `store_clip`."""
        if found.request is None:
            row = replace_clip(self.cache, clip, found.row)
        else:
            row = store_clip(self.cache, clip)
        task = found.task
        return Outcome(task.video_id, "done", None, found.sha256, task.failure_key, row)

    def failed(self, task: Task, error: ItemError, sha256: str = "") -> Outcome:
        """The outcome of a video that raised an error."""
        return Outcome(task.video_id, "failed", error, sha256, task.failure_key)

    def failed_unless_there(self, found: Examined, error: ItemError) -> Outcome:
        """As `failed`, unless another command made the clip in the meantime: it is skipped then."""
        task, row = found.task, Manifest(self.cache).rows().get(found.task.video_id)
        if row is not None and self._is_done(task, found.fingerprint, row):
            return Outcome(task.video_id, "skipped", None, found.sha256, task.failure_key)
        return self.failed(task, error, found.sha256)

    def _decide(self, task: Task, sha256: str, manifest: Manifest) -> Outcome | Examined:
        bad = task.error
        if bad is None and task.expected_sha256 not in (None, sha256):
            bad = ItemError(
                FailureReason.CORRUPT_VIDEO,
                f"{task.video.path.name}: SHA-256 {task.expected_sha256} expected, got {sha256}; "
                "fetch the video again",
            )
        fingerprint = clip_fingerprint(sha256, self.settings, self.identity, task.annotation)
        row = manifest.rows().get(task.video_id)
        if bad is None and row is not None and self._is_done(task, fingerprint, row):
            return Outcome(task.video_id, "skipped", None, sha256, task.failure_key)
        if sha256 == task.failed_before:
            return Outcome(task.video_id, "failed", None, sha256, task.failure_key)
        if bad is not None:
            raise bad
        # A predictor reads all channels; where not all are stored, the video is taken again.
        is_whole = self.predictor is not None and self.config.union is UnionKind.full
        if is_whole and row is not None and self._is_known(task.video_id, fingerprint, row):
            return Examined(task, sha256, fingerprint, None, row)
        request = frame_request(self.config, task.video.path, sha256, task.annotation)
        return Examined(task, sha256, fingerprint, request)

    def _is_done(self, task: Task, fingerprint: str, row: dict[str, Any]) -> bool:
        """Whether the clip is there with all that is asked for."""
        if not self._is_there(task.video_id, fingerprint, row):
            return False
        if self.predictor is None:
            return True
        header = ClipReader(clip_path(self.cache, task.video_id)).header
        return header.predictor == self.predictor.identity

    def _is_known(self, video_id: str, fingerprint: str, row: dict[str, Any]) -> bool:
        there = self._is_there(video_id, fingerprint, row)
        return there and is_known_file(clip_path(self.cache, video_id), row)

    def _is_there(self, video_id: str, fingerprint: str, row: dict[str, Any]) -> bool:
        path = clip_path(self.cache, video_id)
        if not path.is_file():
            return False
        # The size tells most damage at once; after an addition that was cut off only bytes can.
        is_same_size = row.get("bytes") == path.stat().st_size
        if (self.verify or not is_same_size) and not is_known_file(path, row):
            return False
        try:
            return ClipReader(path).header.fingerprint == fingerprint == row.get("fingerprint")
        except ItemError:
            return False


class Networks:
    """The detector and the relation predictor on one device, built when first needed."""

    def __init__(self, steps: Steps, device: torch.device) -> None:
        self.steps, self.device = steps, device
        self._extractor: ClipExtractor | None = None
        self._predictor: STTran | None = None

    def extract(self, found: Examined, frames: FrameStream | None) -> CachedClip:
        """The clip of a video, with predicted relations where they are asked for.

        Args:
            found: the video.
            frames: those of its request; None where it has none.

        Raises:
            ItemError: with the reason why there is none.
            UsageError: if a network cannot be built.
        """
        steps, task = self.steps, found.task
        if frames is None:
            clip = load_clip(clip_path(steps.cache, task.video_id))
        else:
            clip = self._get_extractor().extract(
                frames, task.video_id, fingerprint=found.fingerprint, annotation=task.annotation
            )
        if steps.predictor is not None:
            clip = with_predicted(clip, self._get_predictor(), steps.predictor.identity)
        return reduce_union(clip, steps.config.union.value)

    @property
    def detector(self) -> Detector:
        """The detector, built if it is not there yet."""
        return self._get_extractor().detector

    def _get_extractor(self) -> ClipExtractor:
        if self._extractor is None:
            steps = self.steps
            with _BUILDING:
                detector = load_detector(steps.config.detection, steps.objects, self.device)
            self._extractor = ClipExtractor(
                detector, steps.identity, steps.config, steps.settings, self.device
            )
        return self._extractor

    def _get_predictor(self) -> STTran:
        if self._predictor is None:
            assert self.steps.predictor is not None
            with _BUILDING:
                self._predictor = load_predictor(self.steps.predictor, self.device)
        return self._predictor


def failure_key(
    steps: Steps, annotation: ClipAnnotation | None, bad: str | None, expected_sha256: str | None
) -> str:
    """Hash of what besides the video's bytes determines whether it fails.

    Args:
        steps: of the command.
        annotation: of the video.
        bad: what is wrong with its annotation, if anything.
        expected_sha256: of its bytes, where that is known.
    """
    mark = annotation.fingerprint() if annotation else bad
    decode = steps.config.decode
    limits = [decode.max_pixels, decode.max_frames, decode.timeout_s, decode.memory_gb]
    limits.append(steps.config.detection.batch_size)
    return json_sha256([steps.settings, steps.identity.to_dict(), limits, mark, expected_sha256])
