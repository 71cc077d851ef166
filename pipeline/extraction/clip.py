"""One video: frames, boxes, pairs, features, predicates, together a `CachedClip`."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from detection.detections import Detections
from detection.detector import Detector
from pipeline.cache.clip import CachedClip, ClipHeader
from pipeline.config.schema import Config
from pipeline.datasets import ClipAnnotation, FrameAnnotation
from pipeline.decoding import FrameRequest, FrameStream
from pipeline.decoding.video_frames import VideoFrames
from pipeline.decoding.video_source import VideoSource
from pipeline.errors import FailureReason, ItemError
from pipeline.runtime.files import json_sha256
from pipeline.weights.detectors import DetectorIdentity
from relations.boxes import union_boxes
from relations.carry import carry_predicates, match_to_annotation
from relations.graph import RelationGraph
from relations.pairs import human_object_pairs


def extraction_settings(config: Config, objects: Sequence[str]) -> dict[str, Any]:
    """Everything of the config that determines what is extracted, as JSON; no path, no count.

    The detector is told apart (`DetectorIdentity`), and so is what predicts relations.
    """
    return {
        "boxes": config.boxes.value,
        "union": config.union.value,
        "backend": config.decode.backend.value,
        "fps": config.decode.fps,
        "tolerant": config.decode.tolerant,
        "frames": config.frames.num,
        "vocabulary": config.vocabulary,
        "objects": json_sha256(list(objects)),
    }


def clip_fingerprint(
    video_sha256: str,
    settings: dict[str, Any],
    identity: DetectorIdentity,
    annotation: ClipAnnotation | None,
) -> str:
    """SHA-256 over the video's bytes, the settings, the detector and the video's annotation."""
    return json_sha256(
        {
            "video": video_sha256,
            "settings": settings,
            "detector": identity.to_dict(),
            "annotation": annotation.fingerprint() if annotation else None,
        }
    )


def frame_request(
    config: Config, path: Path, sha256: str, annotation: ClipAnnotation | None
) -> FrameRequest:
    """Which frames of a video to decode, and how.

    Raises:
        ItemError: NO_ANNOTATION if only annotated frames are wanted and there are none.
    """
    annotated = tuple(sorted({f.frame_index for f in annotation.frames} if annotation else ()))
    given = config.boxes.value == "ground-truth"
    if given and not annotated:
        raise ItemError(
            FailureReason.NO_ANNOTATION,
            f"{path.name}: annotated frames expected for boxes=ground-truth, there are none; "
            "use boxes=detected",
        )
    decode = config.decode
    return FrameRequest(
        path=path,
        sha256=sha256,
        numbering="dump" if annotated else "presentation",
        annotated=annotated,
        num_uniform=None if given else config.frames.num,
        batch_size=config.detection.batch_size,
        backend=decode.backend.value,
        tolerant=decode.tolerant,
        max_pixels=decode.max_pixels,
        max_frames=decode.max_frames,
        timeout_s=decode.timeout_s,
        fps=decode.fps,
        length_s=annotation.length_s if annotation else None,
    )


@dataclass(frozen=True)
class ClipExtractor:
    """Runs a detector over a video.

    Attributes:
        detector: with weights, in eval mode, on `device`.
        identity: of that detector.
        config: frames.num and boxes are read.
        settings: `extraction_settings` of the config.
    """

    detector: Detector
    identity: DetectorIdentity
    config: Config
    settings: dict[str, Any]
    device: torch.device

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
            frames: decoded frames, those of `frame_request`.
            video_id: what the clip will be called.
            fingerprint: of what determines the result (`clip_fingerprint`).
            annotation: its labels and annotated frames, or None.

        Returns:
            The clip; predicates under `ground-truth` where frames are annotated: those of the
            annotated boxes, or of the detected ones that match them (zeros where none does).

        Raises:
            ItemError: with the reason why this video has no result.
        """
        by_frame = {frame.frame_index: frame for frame in annotation.frames} if annotation else {}
        num_predicates = None
        if by_frame and self.config.boxes.value != "ground-truth":
            num_predicates = next(iter(by_frame.values())).predicates.shape[1]
        parts: list[tuple[Detections, RelationGraph]] = []
        seen: list[VideoFrames] = []
        with torch.inference_mode():
            for batch in frames:
                annotated = [by_frame.get(i) for i in batch.frame_index.tolist()]
                parts.extend(self._describe(batch, annotated, video_id, num_predicates))
                seen.append(replace(batch, frames=batch.frames[:, :, :0, :0]))
        assert frames.source is not None
        header = self._header(frames.source, video_id, fingerprint, annotation)
        return _assemble(header, seen, parts)

    def _describe(
        self,
        frames: VideoFrames,
        annotated: list[FrameAnnotation | None],
        video_id: str,
        num_predicates: int | None,
    ) -> list[tuple[Detections, RelationGraph]]:
        images = frames.frames.to(self.device)
        height, width = images.shape[-2:]
        if self.config.boxes.value == "detected":
            detections, maps = self.detector.detect(images)
        else:
            there = [frame for frame in annotated if frame is not None]
            boxes = [_given_boxes(frame, height, width, video_id) for frame in there]
            labels = [frame.labels.to(self.device) for frame in there]
            detections, maps = self.detector.describe(
                images, [b.to(self.device) for b in boxes], labels
            )
        pairs = [human_object_pairs(d.labels, d.scores) for d in detections]
        unions = [
            union_boxes(d.boxes[p[:, 0]], d.boxes[p[:, 1]])
            for d, p in zip(detections, pairs, strict=True)
        ]
        features = self.detector.pool_union(maps, unions)
        graphs = []
        for row, (pair, union, feature) in enumerate(zip(pairs, unions, features, strict=True)):
            frame = annotated[row]
            predicates, source = torch.zeros(len(pair), 0), "none"
            if self.config.boxes.value == "ground-truth" and frame is not None:
                predicates = frame.predicates[pair[:, 1].cpu()].float()
                source = "ground-truth"
            elif num_predicates is not None:
                predicates, source = torch.zeros(len(pair), num_predicates), "ground-truth"
                if frame is not None:
                    predicates = self._carried(detections[row], pair, frame, video_id)
            graphs.append(RelationGraph(pair, union, feature, predicates, source))  # type: ignore[arg-type]
        return list(zip(detections, graphs, strict=True))

    def _carried(
        self, found: Detections, pairs: Tensor, frame: FrameAnnotation, video_id: str
    ) -> Tensor:
        """Annotated relations of detected pairs."""
        boxes = _given_boxes(frame, *found.image_size, video_id)
        match = match_to_annotation(found.boxes.cpu(), found.labels.cpu(), boxes, frame.labels)
        return carry_predicates(pairs.cpu(), match, frame.predicates.float())

    def _header(
        self,
        found: VideoSource,
        video_id: str,
        fingerprint: str,
        annotation: ClipAnnotation | None,
    ) -> ClipHeader:
        source = {k: v for k, v in asdict(found).items() if k != "path"}
        warnings = []
        if self.identity.is_random:
            warnings.append("RANDOM_WEIGHTS")
        if found.is_degraded:
            warnings.append("DECODE_DEGRADED")
        return ClipHeader(
            video_id=video_id,
            fingerprint=fingerprint,
            source=source,
            detector=self.identity.to_dict(),
            boxes=self.config.boxes.value,
            feature_source="box" if self.config.boxes.value == "ground-truth" else "proposal",
            num_uniform=None
            if self.config.boxes.value == "ground-truth"
            else self.config.frames.num,
            split=annotation.split if annotation else None,
            subject=annotation.subject if annotation else None,
            scene=annotation.scene if annotation else None,
            length_s=annotation.length_s if annotation else None,
            actions=annotation.actions if annotation else None,
            warnings=tuple(warnings),
        )


def _given_boxes(frame: FrameAnnotation, height: int, width: int, video_id: str) -> Tensor:
    if frame.image_size is not None and tuple(frame.image_size) != (height, width):
        raise ItemError(
            FailureReason.BAD_ANNOTATION,
            f"{video_id}: boxes were annotated on {frame.image_size[1]}x{frame.image_size[0]} "
            f"frames, frame {frame.frame_index + 1} is {width}x{height}; use the 480p release",
        )
    limit = torch.tensor([width, height, width, height], dtype=torch.float32)
    return frame.boxes.clamp(min=0).minimum(limit)


def _assemble(
    header: ClipHeader, seen: list[VideoFrames], parts: list[tuple[Detections, RelationGraph]]
) -> CachedClip:
    detections = [d for d, _ in parts]
    graphs = [g for _, g in parts]
    predicates = {}
    if graphs and graphs[0].source == "ground-truth":
        predicates["ground-truth"] = torch.cat([g.predicates for g in graphs]).cpu()
    return CachedClip(
        header=header,
        frame_index=torch.cat([f.frame_index for f in seen]),
        timestamps_s=torch.cat([f.timestamps_s for f in seen]),
        box_offsets=_offsets([len(d) for d in detections]),
        pair_offsets=_offsets([len(g) for g in graphs]),
        boxes=torch.cat([d.boxes for d in detections]).cpu(),
        labels=torch.cat([d.labels for d in detections]).cpu(),
        scores=torch.cat([d.scores for d in detections]).cpu(),
        distribution=torch.cat([d.distribution for d in detections]).cpu(),
        box_features=torch.cat([d.features for d in detections]).cpu(),
        pairs=torch.cat([g.pairs for g in graphs]).cpu(),
        union_features=torch.cat([g.union_features for g in graphs]).cpu(),
        predicates=predicates,
    )


def _offsets(counts: list[int]) -> Tensor:
    return torch.tensor([0, *counts], dtype=torch.int64).cumsum(0)
