"""Number of videos for which a dataset contains annotations."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.datasets.annotations import Annotations, Span
from pipeline.errors import UsageError


@dataclass(frozen=True)
class Coverage:
    """Number of videos with annotations.

    Attributes:
        videos: number of videos.
        annotated: number of them that the dataset contains.
        labels: number of them with annotated actions, possibly none.
        boxes: number of them with annotated frames.
        relations: number of them with annotated relations.
        no_file: number of videos of the dataset that are not among the videos.
    """

    videos: int
    annotated: int
    labels: int
    boxes: int
    relations: int
    no_file: int

    @classmethod
    def of(cls, video_ids: Iterable[str], annotations: Annotations) -> "Coverage":
        """Count the videos with annotations."""
        ids = {*video_ids}
        every = annotations.videos.keys() | annotations.errors.keys()
        known = [annotations.videos[name] for name in ids & annotations.videos.keys()]
        return cls(
            videos=len(ids),
            annotated=len(ids & every),
            labels=sum(row.is_labelled for row in known),
            boxes=sum(bool(row.frames) for row in known),
            relations=sum(any(bool(f.predicates.any()) for f in row.frames) for row in known),
            no_file=len(every - ids),
        )

    def __str__(self) -> str:
        return (
            f"annotations: {self.labels} of {self.videos} videos have labels, {self.boxes} have "
            f"boxes, {self.relations} have relations; {self.no_file} annotated videos have no file"
        )


def check_coverage(
    video_ids: Sequence[str], annotations: Annotations, folders: Sequence[Path]
) -> None:
    """Check that a dataset contains at least one of the videos.

    Args:
        video_ids: ids of the videos, at least one.
        annotations: annotations of the dataset.
        folders: folders of the annotations, used in the message.

    Raises:
        UsageError: if the dataset contains none of the videos.
    """
    found = Coverage.of(video_ids, annotations)
    if found.annotated:
        return
    every, first = annotations.videos.keys() | annotations.errors.keys(), video_ids[0]
    other = min(every, default=None)
    hint = (
        "the id of a video is its file name without suffix; with --ids path, it also contains the "
        "names of its folders"
    )
    if (whole := Span.video_of(first)) in every:
        hint = f"{first} is the id of a part of the video {whole}; provide the whole video"
    there = "no video" if other is None else f"{found.no_file} other videos such as {other}"
    raise UsageError(
        f"--annotations: annotations of the {found.videos} videos such as {first} expected "
        f"in {', '.join(map(str, folders))}, got {there}; {hint}"
    )
