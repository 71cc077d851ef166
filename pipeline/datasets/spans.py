"""Division of annotated videos into the spans that are samples of their own."""

from collections.abc import Iterable
from dataclasses import replace

from pipeline.datasets.annotations import Annotations, ClipAnnotation
from pipeline.datasets.video_files import VideoFile, in_order
from pipeline.decoding.sampling import segment_rows


def divide_into_spans(
    videos: Iterable[VideoFile], annotations: Annotations, num_frames: int
) -> tuple[list[VideoFile], Annotations]:
    """Divide videos into their annotated spans.

    Each span becomes an entry with the path of its video and the id of the span (`Span.id`).
    A video without annotated spans, or with a faulty annotation, remains one entry.

    Args:
        videos: the videos.
        annotations: annotations of the videos.
        num_frames: number of evenly spaced frames of each span, see `ReadOptions`.

    Returns:
        A tuple of the entries, sorted by id, and annotations that also contain each span
        (`span_annotations`), by its id.
    """
    entries: list[VideoFile] = []
    found: dict[str, ClipAnnotation] = {}
    for video in videos:
        annotation = annotations.videos.get(video.video_id)
        spans: dict[str, ClipAnnotation] = {}
        if annotation is not None and video.video_id not in annotations.errors:
            spans = span_annotations(annotation, num_frames)
        entries += [VideoFile(video.path, name) for name in spans] or [video]
        found |= spans
    return in_order(entries), replace(annotations, videos={**annotations.videos, **found})


def span_annotations(annotation: ClipAnnotation, num_frames: int) -> dict[str, ClipAnnotation]:
    """Return the annotation of each span of a video, which has the frames of its span, by its id.

    The result is empty if the video is one sample.

    Args:
        annotation: annotation of the video.
        num_frames: number of evenly spaced frames of each span. Other frames in the span are those
            of an overlapping span.
    """
    found = {}
    for span in annotation.spans:
        chosen = segment_rows(span.last - span.first + 1, num_frames)
        wanted = {span.first + row for row in chosen}
        frames = tuple(frame for frame in annotation.frames if frame.frame_index in wanted)
        found[span.id(annotation.video_id)] = replace(annotation, spans=(span,), frames=frames)
    return found
