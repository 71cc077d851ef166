"""Extraction of a `CachedClip` from the decoded frames of one video."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from detection.detections import Detections
from detection.detector import Detector
from pipeline.cache.clip import GROUND_TRUTH, CachedClip, ClipHeader, ClipSource
from pipeline.cache.clip_checks import check_inside
from pipeline.cache.folder import ExtractionSettings
from pipeline.config.schema import Config, DecodeConfig, Features
from pipeline.datasets import ClipAnnotation, FrameAnnotation
from pipeline.datasets.vocabulary import Vocabulary
from pipeline.decoding import DecodeOptions, FrameRequest, FrameStream
from pipeline.decoding.sampling import window_hop
from pipeline.decoding.video_frames import VideoFrames
from pipeline.decoding.video_source import VideoSource
from pipeline.errors import FailureReason, ItemError
from pipeline.extraction.labels import (
    annotated_predicates,
    check_length,
    given_boxes,
    has_other_size,
    label_fields,
)
from pipeline.extraction.person_choice import PersonChoice
from pipeline.runtime.files import json_sha256
from pipeline.weights.detectors import ResolvedDetector
from relations.boxes import union_boxes
from relations.graph import PredicateSource, RelationGraph
from relations.pairs import Kinds, pairs_of_kinds


def extraction_settings(config: Config, vocabulary: Vocabulary) -> ExtractionSettings:
    """Return the settings that determine the content of clips.

    Args:
        config: configuration of the command.
        vocabulary: names of the object classes and predicates.

    Raises:
        UsageError: if the vocabulary does not contain a kind of pairs.
    """
    return ExtractionSettings(
        boxes=config.boxes.value,
        union=config.union.value,
        backend=config.decode.backend.value,
        fps=config.decode.fps,
        tolerant=config.decode.tolerant,
        frames=config.frames.num,
        vocabulary=config.vocabulary,
        objects=json_sha256(list(vocabulary.objects)),
        pairs=vocabulary.chosen_pairs(config.pairs) or None,
        occluded=config.occluded or None,
        features=None if config.features is Features.detector else config.features.value,
    )


def decode_options(config: DecodeConfig) -> DecodeOptions:
    """Return the decoder options of a configuration."""
    return DecodeOptions(
        backend=config.backend.value,
        tolerant=config.tolerant,
        max_pixels=config.max_pixels,
        max_frames=config.max_frames,
        timeout_s=config.timeout_s,
        fps=config.fps,
    )


def failure_limits(config: Config) -> list[float]:
    """Return the limits of a configuration that determine failures, but not results."""
    decode = config.decode
    limits = [decode.max_pixels, decode.max_frames, decode.timeout_s, decode.memory_gb]
    return [*limits, config.detection.batch_size]


def clip_fingerprint(
    video_sha256: str,
    settings: ExtractionSettings,
    detector: ResolvedDetector,
    annotation: ClipAnnotation | None,
) -> str:
    """Return the fingerprint of a clip.

    Labels and relations have no effect on it. If they change, `relabelled` replaces them.

    Args:
        video_sha256: SHA-256 of the video file.
        settings: settings of the extraction.
        detector: description of the detector.
        annotation: annotation of the video, or None.

    Returns:
        Hexadecimal SHA-256 over the arguments.
    """
    return json_sha256(
        {
            "video": video_sha256,
            "settings": settings.to_dict(),
            "detector": detector.to_dict(),
            "boxes": annotation.boxes_fingerprint() if annotation else None,
        }
    )


def frame_request(
    path: Path,
    sha256: str,
    annotation: ClipAnnotation | None,
    settings: ExtractionSettings,
    *,
    options: DecodeOptions,
    batch_size: int,
) -> FrameRequest:
    """Build the request for the frames of a video.

    Annotated frames are always requested. With `boxes=detected`, uniform frames are also
    requested.

    Args:
        path: path of the video.
        sha256: SHA-256 of the video file.
        annotation: annotation of the video, or None.
        settings: settings of the extraction.
        options: options of the decoder.
        batch_size: frames per batch.

    Raises:
        ItemError: NO_ANNOTATION if annotated boxes are required and no frame is annotated.
    """
    known = annotation or ClipAnnotation(path.stem)
    annotated = tuple(sorted({frame.frame_index for frame in known.frames}))
    has_given_boxes = settings.boxes == GROUND_TRUTH
    if has_given_boxes and not annotated:
        raise ItemError(
            FailureReason.NO_ANNOTATION,
            f"{path.name}: boxes=ground-truth requires annotated frames, but the video has none; "
            "use boxes=detected",
        )
    return FrameRequest(
        path=path,
        sha256=sha256,
        options=options,
        numbering="dump" if annotated else "presentation",
        annotated=annotated,
        num_uniform=None if has_given_boxes or known.spans else settings.frames,
        batch_size=batch_size,
        length_s=known.length_s,
    )


@dataclass(frozen=True)
class _Described:
    """Boxes and pairs of one frame."""

    frame_index: int
    time_s: float
    source: VideoSource
    detections: Detections
    graph: RelationGraph
    instances: Tensor | None = None


@dataclass(frozen=True)
class ClipExtractor:
    """Extractor that runs a detector over the frames of a video.

    Attributes:
        network: detector in eval mode on `device`.
        detector: description of `network`.
        settings: settings of the extraction.
        device: device of `network`.
        vocabulary: names of the object classes and predicates.
    """

    network: Detector
    detector: ResolvedDetector
    settings: ExtractionSettings
    device: torch.device
    vocabulary: Vocabulary

    @property
    def kinds(self) -> Kinds:
        """Kinds of pairs of detected boxes."""
        return self.vocabulary.pair_classes(self.settings.pairs or ())

    @property
    def has_given_boxes(self) -> bool:
        """Whether the annotated boxes are used."""
        return self.settings.boxes == GROUND_TRUTH

    def extract(
        self,
        frames: FrameStream,
        video_id: str,
        *,
        fingerprint: str,
        annotation: ClipAnnotation | None,
    ) -> CachedClip:
        """Extract one video.

        Args:
            frames: decoded frames requested by `frame_request`.
            video_id: id of the clip.
            fingerprint: fingerprint of the clip (`clip_fingerprint`).
            annotation: labels and annotated frames of the video, or None.

        Returns:
            The clip. If the video has annotated frames, the clip has `ground-truth` predicates.
            A pair of annotated boxes has its annotated predicates. A pair of detected boxes has the
            predicates of the matching annotated boxes (`match_to_annotation`), or zeros if a box
            has no match.

        Raises:
            ItemError: if the video cannot be extracted.
        """
        parts = [*self._described(frames, video_id, annotation, None)]
        assert frames.source is not None
        check_length(annotation, frames.source)
        return self._clip(parts, self._header(frames.source, video_id, fingerprint, annotation))

    def windows(
        self,
        frames: FrameStream,
        video_id: str,
        request: FrameRequest,
        *,
        fingerprint: str,
        annotation: ClipAnnotation | None,
        people: PersonChoice,
    ) -> Iterator[CachedClip]:
        """Extract overlapping windows of one video.

        A window of `size` frames begins `window_hop(size)` frames after the previous one, and the
        last one ends with the last frame (`FrameRequest.window_size`). At most `size` frames are
        in memory.

        Args:
            frames: decoded frames.
            video_id: id of the clips.
            request: request of the frames, with the limits of the windows.
            fingerprint: fingerprint of the clips (`clip_fingerprint`).
            annotation: labels and annotated frames of the video, or None.
            people: counter of the people, and the person whose pairs are extracted.

        Raises:
            ItemError: if the video cannot be extracted.
        """
        parts: deque[_Described] = deque()

        def window() -> CachedClip:
            source = parts[-1].source
            header = self._header(source, video_id, fingerprint, annotation)
            if header.num_uniform is not None:
                header = replace(header, num_uniform=request.num_segments(source))
            return self._clip([*parts], header)

        described = self._described(frames, video_id, annotation, people)
        for count, part in enumerate(described):
            check_length(annotation, part.source)
            size = request.window_size(part.source)
            if count >= size and (count - size) % window_hop(size) == 0:
                yield window()
            parts.append(part)
            if len(parts) > size:
                parts.popleft()
        yield window()

    def _described(
        self,
        frames: FrameStream,
        video_id: str,
        annotation: ClipAnnotation | None,
        people: PersonChoice | None,
    ) -> Iterator["_Described"]:
        """Yield the boxes and pairs of each frame."""
        by_frame = {frame.frame_index: frame for frame in annotation.frames} if annotation else {}
        widths = (frame.predicates.shape[1] for frame in by_frame.values())
        num_predicates = next(widths, None)
        for batch in frames:
            index, times = batch.frame_index.tolist(), batch.timestamps_s.tolist()
            annotated = [by_frame.get(i) for i in index]
            with torch.inference_mode():  # not around the yield, which runs code of the caller
                found = self._describe(batch, annotated, video_id, num_predicates, people)
            for i, time_s, parts, frame in zip(index, times, found, annotated, strict=True):
                known = frame.instances if frame and self.has_given_boxes else None
                yield _Described(i, time_s, batch.source, *parts, known)

    @staticmethod
    def _clip(parts: Sequence["_Described"], header: ClipHeader) -> CachedClip:
        for part in parts:
            check_inside(part.detections.boxes, part.source.width, part.source.height)
        instances = [part.instances for part in parts if part.instances is not None]
        return CachedClip.of_frames(
            header,
            torch.tensor([part.frame_index for part in parts], dtype=torch.int64),
            torch.tensor([part.time_s for part in parts], dtype=torch.float64),
            [part.detections for part in parts],
            [part.graph for part in parts],
            torch.cat(instances) if len(instances) == len(parts) else None,
        )

    def _describe(
        self,
        frames: VideoFrames,
        annotated: list[FrameAnnotation | None],
        video_id: str,
        num_predicates: int | None,
        people: PersonChoice | None,
    ) -> list[tuple[Detections, RelationGraph]]:
        images = frames.frames.to(self.device)
        height, width = images.shape[-2:]
        if self.has_given_boxes:
            there = [frame for frame in annotated if frame is not None]
            given = [given_boxes(frame, height, width, video_id) for frame in there]
            labels = [frame.labels.to(self.device) for frame in there]
            boxes = [each.to(self.device) for each in given]
            found, maps = self.network.describe(images, boxes, labels)
        else:
            found, maps = self.network.detect(images)
        pairs = [
            self._pairs(d, frame if self.has_given_boxes else None, people)
            for d, frame in zip(found, annotated, strict=True)
        ]
        unions = [
            union_boxes(d.boxes[p[:, 0]], d.boxes[p[:, 1]])
            for d, p in zip(found, pairs, strict=True)
        ]
        features = self.network.pool_union(maps, unions)
        predicates = [
            annotated_predicates(
                d.boxes, d.labels, pair, frame, d.image_size, num_predicates or 0,
                has_given_boxes=self.has_given_boxes, video_id=video_id,
            )
            for d, pair, frame in zip(found, pairs, annotated, strict=True)
        ]  # fmt: skip
        source: PredicateSource = "none" if num_predicates is None else "ground-truth"
        graphs = [
            RelationGraph(*arrays, source)
            for arrays in zip(pairs, unions, features, predicates, strict=True)
        ]
        return list(zip(found, graphs, strict=True))

    def _pairs(
        self, found: Detections, annotated: FrameAnnotation | None, people: PersonChoice | None
    ) -> Tensor:
        """Return the (P, 2) pairs of a frame. `annotated` is None for detected boxes."""
        if people is not None:
            pairs = people.pairs(found)
        else:
            pairs = pairs_of_kinds(found.labels, found.scores, self.kinds)
        if annotated is None or annotated.pairs is None:
            return pairs
        return annotated.pairs.to(found.labels.device)

    def _header(
        self, found: VideoSource, video_id: str, fingerprint: str, annotation: ClipAnnotation | None
    ) -> ClipHeader:
        is_cut = annotation is not None and bool(annotation.spans)
        codes = {
            "RANDOM_WEIGHTS": self.detector.is_random,
            "DECODE_DEGRADED": found.is_degraded,
            "RESCALED_FRAMES": found.is_rescaled,
            "RESCALED_BOXES": annotation is not None and has_other_size(annotation, found),
        }
        return ClipHeader(
            video_id=video_id,
            fingerprint=fingerprint,
            source=ClipSource(**found.to_dict()),
            detector=self.detector.to_dict(),
            boxes=self.settings.boxes,
            feature_source="box" if self.has_given_boxes else "proposal",
            num_uniform=None if self.has_given_boxes or is_cut else self.settings.frames,
            span_frames=self.settings.frames if is_cut else None,
            warnings=tuple(code for code, holds in codes.items() if holds),
            **label_fields(annotation),
        )
