"""Steps of the extraction of each video."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from detection.detector import Detector
from pipeline.cache.clip import CachedClip, ClipHeader
from pipeline.cache.folder import ExtractionSettings, clip_path, replace_clip, store_clip
from pipeline.cache.listing import open_clip
from pipeline.cache.manifest import Manifest, ManifestRow
from pipeline.cache.reader import load_clip
from pipeline.cache.union_features import reduce_union
from pipeline.config.schema import Config, Features, UnionKind
from pipeline.datasets import ClipAnnotation
from pipeline.datasets.vocabulary import Vocabulary
from pipeline.decoding import FrameStream
from pipeline.engine.stage import Examined, Outcome, Task, Worker
from pipeline.errors import ItemError
from pipeline.extraction.annotated import annotated_clip
from pipeline.extraction.clip import (
    ClipExtractor,
    clip_fingerprint,
    decode_options,
    extraction_settings,
    failure_limits,
    frame_request,
)
from pipeline.extraction.labels import relabelled
from pipeline.extraction.relation_prediction import with_predicted
from pipeline.runtime.files import json_sha256
from pipeline.weights.detectors import ResolvedDetector
from pipeline.weights.loading import BUILDING
from pipeline.weights.predictors import PredictorFile, load_predictor
from relations.sttran import STTran


@dataclass(frozen=True)
class ExaminedClip(Examined):
    """A video to extract, or a cached clip whose relations or labels must be completed.

    Its request is None for a cached clip that lacks predicted relations or has other labels than
    the annotation.

    Attributes:
        row: manifest line of the cached clip, or None for a video to extract.
    """

    row: ManifestRow | None = None


@dataclass(frozen=True)
class Steps:
    """Stage that extracts videos into a cache, see `pipeline.engine.stage.Stage`.

    Attributes:
        config: configuration of the command.
        cache: folder of the cache.
        detector: description of the detector.
        vocabulary: names of the object classes and predicates.
        predictor: relation predictor, or None if `relations` is not `predicted`.
        verify: whether to compare every byte of existing clips with the manifest.
    """

    config: Config
    cache: Path
    detector: ResolvedDetector
    vocabulary: Vocabulary
    predictor: PredictorFile | None = None
    verify: bool = False

    @property
    def settings(self) -> ExtractionSettings:
        """Settings that determine the content of clips."""
        return extraction_settings(self.config, self.vocabulary)

    @property
    def folder(self) -> Path:
        """Folder of the cache."""
        return self.cache

    def failure_fingerprint(
        self, annotation: ClipAnnotation | None, bad: str | None, expected_sha256: str | None
    ) -> str:
        """Return the SHA-256 over everything that determines a failure, except the video file."""
        mark = annotation.fingerprint() if annotation else bad
        settings, detector = self.settings.to_dict(), self.detector.to_dict()
        return json_sha256([settings, detector, failure_limits(self.config), mark, expected_sha256])

    def is_done(self, task: Task, sha256: str) -> bool:
        """Return whether the cache contains the clip with all required relations and labels."""
        header = self._find(task, sha256, self._row(task), verify=self.verify)
        return header is not None and self._is_complete(task, header)

    def prepare(self, task: Task, sha256: str) -> ExaminedClip | None:
        """Prepare the extraction of a video, or the completion of its clip.

        Returns:
            The examined video, or None if another command has stored the clip meanwhile.

        Raises:
            ItemError: NO_ANNOTATION if annotated boxes are required and no frame is annotated.
        """
        fingerprint, row = self._fingerprint(task, sha256), self._row(task)
        # A predictor requires all union channels. If they are not stored, extract the video again.
        header = self._find(task, sha256, row, verify=True)
        if header is not None and self._is_complete(task, header):
            return None
        if header is not None and (self._is_predicted(header) or self._is_full()):
            return ExaminedClip(task, sha256, fingerprint, None, row)
        if self.config.features is Features.none:
            return ExaminedClip(task, sha256, fingerprint, None)
        request = frame_request(
            task.video.path,
            sha256,
            task.annotation,
            self.settings,
            options=decode_options(self.config.decode),
            batch_size=self.config.detection.batch_size,
        )
        return ExaminedClip(task, sha256, fingerprint, request)

    def worker(self, device: torch.device) -> Worker[ExaminedClip, CachedClip]:
        """Return the function that extracts videos on a device."""
        return Networks(self, device).run

    def store(self, found: ExaminedClip, clip: CachedClip) -> Outcome:
        """Write a clip to the cache, see `pipeline.cache.folder.store_clip`."""
        if found.row is None:
            row = store_clip(self.cache, clip)
        else:
            row = replace_clip(self.cache, clip, found.row)
        return found.task.outcome("done", found.sha256, row=row)

    def failed(self, task: Task, error: ItemError, sha256: str = "") -> Outcome:
        """Return the outcome of a video that raised an error."""
        return task.outcome("failed", sha256, error)

    @cached_property
    def _manifest(self) -> Manifest:
        return Manifest(self.cache)

    def _row(self, task: Task) -> ManifestRow | None:
        return self._manifest.rows().get(task.video_id)

    def _fingerprint(self, task: Task, sha256: str) -> str:
        return clip_fingerprint(sha256, self.settings, self.detector, task.annotation)

    def _is_complete(self, task: Task, header: ClipHeader) -> bool:
        """Return whether a clip has all required relations and labels."""
        labels = task.annotation.labels_fingerprint() if task.annotation else None
        return header.labels == labels and self._is_predicted(header)

    def _is_predicted(self, header: ClipHeader) -> bool:
        """Return whether a clip has the required predicted relations."""
        return self.predictor is None or header.predictor == self.predictor.to_dict()

    def _is_full(self) -> bool:
        return self.config.union is UnionKind.full

    def _find(
        self, task: Task, sha256: str, row: ManifestRow | None, *, verify: bool
    ) -> ClipHeader | None:
        """Return the header of an undamaged cached clip of a video, or None."""
        if row is None:
            return None
        fingerprint = self._fingerprint(task, sha256)
        try:
            header = open_clip(self.cache, task.video_id, row, verify=verify).header
        except ItemError:
            return None
        return header if header.fingerprint == fingerprint == row.fingerprint else None


class Networks:
    """Detector and relation predictor on one device. Each is built when it is first used.

    Args:
        steps: steps of the extraction.
        device: device of the networks.
    """

    def __init__(self, steps: Steps, device: torch.device) -> None:
        self.steps, self.device = steps, device

    def run(self, found: ExaminedClip, frames: FrameStream | None) -> CachedClip:
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
        if steps.config.features is Features.none:
            return self._annotated(found)
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

    def _annotated(self, found: ExaminedClip) -> CachedClip:
        annotation = found.task.annotation
        assert annotation is not None
        return annotated_clip(
            annotation,
            self.steps.vocabulary,
            fingerprint=found.fingerprint,
            sha256=found.sha256,
            fps=float(self.steps.config.decode.fps or 0),
            span_frames=self.steps.config.frames.num,
        )

    @cached_property
    def _extractor(self) -> ClipExtractor:
        steps = self.steps
        with BUILDING:
            words = steps.vocabulary
            network = steps.detector.load(words.objects, self.device, words.aliases)
        return ClipExtractor(network, steps.detector, steps.settings, self.device, words)

    @cached_property
    def _predictor(self) -> STTran:
        assert self.steps.predictor is not None
        with BUILDING:
            return load_predictor(self.steps.predictor, self.device)
