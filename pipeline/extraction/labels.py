"""Labels and annotated relations of clips."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pipeline.cache.clip import GROUND_TRUTH, CachedClip
from pipeline.datasets import ClipAnnotation, FrameAnnotation
from pipeline.decoding.video_source import VideoSource
from pipeline.errors import FailureReason, ItemError
from relations.carry import match_to_annotation


def label_fields(annotation: ClipAnnotation | None) -> dict[str, Any]:
    """Return the fields of a clip header that an annotation determines."""
    known = annotation or ClipAnnotation("")
    return {
        "split": known.split,
        "subject": known.subject,
        "scene": known.scene,
        "length_s": known.length_s,
        "actions": known.actions,
        "labels": annotation.labels_fingerprint() if annotation else None,
        "spans": known.spans or None,
    }


def relabelled(clip: CachedClip, annotation: ClipAnnotation | None) -> CachedClip:
    """Replace the labels and annotated relations of a clip by those of an annotation.

    Args:
        clip: a clip with the fingerprint that the annotation leads to (`clip_fingerprint`).
        annotation: annotation of the video, or None.

    Raises:
        ItemError: BAD_ANNOTATION if the annotated frames have another size than the video.
    """
    header = replace(clip.header, **label_fields(annotation))
    predicates = {k: v for k, v in clip.predicates.items() if k != GROUND_TRUTH}
    frames = annotation.frames if annotation else ()
    if frames:
        by_frame = {frame.frame_index: frame for frame in frames}
        size = header.source.size
        ends = zip(clip.box_offsets.unfold(0, 2, 1), clip.pair_offsets.unfold(0, 2, 1), strict=True)
        rows = [
            annotated_predicates(
                clip.boxes[slice(*boxes)], clip.labels[slice(*boxes)], clip.pairs[slice(*pairs)],
                by_frame.get(index), size, frames[0].predicates.shape[1],
                has_given_boxes=header.boxes == GROUND_TRUTH, video_id=clip.video_id,
            )
            for index, (boxes, pairs) in zip(clip.frame_index.tolist(), ends, strict=True)
        ]  # fmt: skip
        predicates = {GROUND_TRUTH: torch.cat(rows), **predicates}
    return replace(clip, header=header, predicates=predicates)


def annotated_predicates(
    boxes: Tensor,
    labels: Tensor,
    pairs: Tensor,
    frame: FrameAnnotation | None,
    size: tuple[int, int],
    num_predicates: int,
    *,
    has_given_boxes: bool,
    video_id: str,
) -> Tensor:
    """Return the annotated predicates of the pairs of a frame.

    Detected boxes are first matched with the annotated boxes.

    Args:
        boxes: (N, 4) boxes in pixels.
        labels: (N,) object classes.
        pairs: (P, 2) rows of boxes.
        frame: annotation of the frame, or None.
        size: height and width of the frame.
        num_predicates: number of predicates R.
        has_given_boxes: whether the boxes are the annotated boxes.
        video_id: id of the video, used in error messages.

    Returns:
        (P, R) float32 predicates, zeros if the frame or the pair is not annotated.

    Raises:
        ItemError: BAD_ANNOTATION if the annotated frame has another size than the video.
    """
    if frame is None:
        return torch.zeros(len(pairs), num_predicates)
    if has_given_boxes:
        return frame.predicates_of(pairs.cpu())
    given = given_boxes(frame, *size, video_id)
    match = match_to_annotation(
        boxes.cpu(), labels.cpu(), given, frame.labels, is_person_partial=frame.is_person_partial
    )
    return frame.predicates_of(match[pairs.cpu()])


def given_boxes(frame: FrameAnnotation, height: int, width: int, video_id: str) -> Tensor:
    """Return the (N, 4) annotated boxes in pixels of the decoded frame, clipped to it.

    Raises:
        ItemError: BAD_ANNOTATION if the frame was annotated with another aspect ratio.
    """
    limit = torch.tensor([width, height, width, height], dtype=torch.float32)
    return frame.scaled_to(height, width, video_id).boxes.clamp(min=0).minimum(limit)


def check_length(annotation: ClipAnnotation | None, video: VideoSource) -> None:
    """Check that a video has the annotated number of frames.

    Raises:
        ItemError: BAD_ANNOTATION if the numbers differ. A damaged video may have fewer frames.
    """
    expected = annotation.num_frames if annotation else None
    if expected not in (None, video.num_frames) and not video.is_degraded:
        raise ItemError(
            FailureReason.BAD_ANNOTATION,
            f"{video.path.name}: {expected} frames expected as in the annotation, got "
            f"{video.num_frames}; use the release of the video that was annotated",
        )


def has_other_size(annotation: ClipAnnotation, video: VideoSource) -> bool:
    """Return whether frames were annotated in another size than that of the video."""
    size = (video.height, video.width)
    return any(frame.image_size not in (None, size) for frame in annotation.frames)
