"""Clips without features, made of annotations alone."""

import torch
import torch.nn.functional as F  # noqa: N812

from pipeline.cache.clip import GROUND_TRUTH, CachedClip, ClipHeader, ClipSource, offsets_of
from pipeline.datasets import ClipAnnotation
from pipeline.datasets.vocabulary import Vocabulary
from pipeline.errors import FailureReason, ItemError
from pipeline.extraction.labels import label_fields
from pipeline.weights.detectors import NO_DETECTOR


def annotated_clip(
    annotation: ClipAnnotation,
    vocabulary: Vocabulary,
    *,
    fingerprint: str,
    sha256: str,
    fps: float,
    span_frames: int,
) -> CachedClip:
    """Build the clip of the annotated frames of a video, without features.

    Args:
        annotation: annotation of the video, whose frames have pairs.
        vocabulary: names of the object classes and predicates.
        fingerprint: fingerprint of the clip (`clip_fingerprint`).
        sha256: SHA-256 of the annotation file.
        fps: frames per second of the video.
        span_frames: number of annotated frames of each span (`frames.num`).

    Returns:
        The clip. The width of the box features and the number of channels of the union features
        are 0. The distribution of a box is 1 for its class.

    Raises:
        ItemError: NO_ANNOTATION if no frame is annotated.
    """
    frames, num = annotation.frames, annotation.num_frames
    if not frames or num is None:
        raise ItemError(
            FailureReason.NO_ANNOTATION,
            f"{annotation.video_id}: annotated frames expected, got none",
        )
    pairs = [frame.pairs for frame in frames if frame.pairs is not None]
    assert len(pairs) == len(frames)
    index = torch.tensor([frame.frame_index for frame in frames])
    labels = torch.cat([frame.labels for frame in frames])
    instances = [frame.instances for frame in frames if frame.instances is not None]
    return CachedClip(
        header=ClipHeader(
            video_id=annotation.video_id,
            fingerprint=fingerprint,
            source=ClipSource(num, sha256=sha256, fps=fps, duration_s=num / fps),
            detector=NO_DETECTOR.to_dict(),
            boxes=GROUND_TRUTH,
            feature_source="box",
            span_frames=span_frames if annotation.spans else None,
            **label_fields(annotation),
        ),
        frame_index=index,
        timestamps_s=index.double() / fps,
        box_offsets=offsets_of(torch.tensor([len(frame.boxes) for frame in frames])),
        pair_offsets=offsets_of(torch.tensor([len(each) for each in pairs])),
        boxes=torch.cat([frame.boxes for frame in frames]),
        labels=labels,
        scores=torch.ones(len(labels)),
        distribution=F.one_hot(labels, len(vocabulary.objects)).float(),
        box_features=torch.zeros(len(labels), 0),
        pairs=torch.cat(pairs),
        union_features=torch.zeros(sum(map(len, pairs)), 0, 7, 7),
        predicates={GROUND_TRUTH: torch.cat([frame.predicates.float() for frame in frames])},
        instances=torch.cat(instances) if len(instances) == len(frames) else None,
    )
