"""Conversion of the re-annotation of CAD-120 to the annotations that an extraction reads."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from pipeline.datasets.annotations import (
    Annotations,
    ClipAnnotation,
    FrameAnnotation,
    ReadOptions,
    Span,
)
from pipeline.datasets.cad120.clips import ClipLine
from pipeline.datasets.cad120.knowledge import Knowledge
from pipeline.datasets.cad120.release import read_release
from pipeline.datasets.cad120.videos import VideoAnnotation
from pipeline.datasets.vocabulary import Vocabulary
from pipeline.decoding.sampling import segment_rows
from pipeline.errors import UsageError

PERSON = "person"
#: Parts of the person, whose boxes form the box of the person.
PARTS = ("hand", "head")


def read_cad120(
    folders: Sequence[Path], vocabulary: Vocabulary, options: ReadOptions
) -> Annotations:
    """Read the re-annotation of CAD-120.

    Only the frames of the clips are annotated, at most `options.frames` of each clip. The boxes of
    a frame are those of its pairs, or with `options.every_box` those of all objects, of the hands,
    of the head and of the person.

    Args:
        folders: folders that contain the release, possibly in subfolders.
        vocabulary: names of the object classes and predicates.
        options: pairs and frames to read.

    Returns:
        Annotations of all videos with clips, and the folds. A video with a malformed annotation is
        listed in `errors`.

    Raises:
        UsageError: if a text file of the release is missing or malformed (`read_release`), or if
            the vocabulary does not contain its names.
    """
    release = read_release(folders)
    try:
        names = _Names(release.knowledge, vocabulary, options)
    except ValueError as error:
        raise UsageError(f"vocabulary: a vocabulary of CAD-120 expected: {error}") from error
    videos = {
        video_id: _clip_annotation(release.videos[video_id], lines, names)
        for video_id, lines in release.clips.items()
    }
    classes = tuple((f"c{i:03}", name) for i, name in enumerate(release.knowledge.actions))
    files = {video_id: release.files[video_id] for video_id in (*videos, *release.errors)}
    faulty = {
        video_id: ClipAnnotation(video_id, subject=lines[0].subject, spans=_spans(lines))
        for video_id, lines in release.faulty.items()
    }
    return Annotations(classes, videos, release.errors, release.folds, files, faulty)


class _Names:
    """Indices in the vocabulary of the names of the release, and the chosen pairs.

    Raises:
        ValueError: if the vocabulary does not contain a name.
    """

    def __init__(self, knowledge: Knowledge, vocabulary: Vocabulary, options: ReadOptions) -> None:
        self.options, self.num_predicates = options, len(vocabulary.predicates)
        self.objects = {name: vocabulary.object_index(name) for name in knowledge.objects}
        self.relations = [vocabulary.predicate_index(name) for name in knowledge.relations]
        self.attributes = [vocabulary.predicate_index(name) for name in knowledge.attributes]
        self.kinds = [vocabulary.pairs[name] for name in options.pairs]
        self.holding = vocabulary.predicate_index("holding")
        self.not_holding = vocabulary.predicate_index("not_holding")


def _clip_annotation(
    video: VideoAnnotation, lines: Sequence[ClipLine], names: _Names
) -> ClipAnnotation:
    rows: set[int] = set()
    for line in lines:
        span = segment_rows(line.last - line.first + 1, names.options.frames)
        rows.update(line.first + row for row in span)
    pairs = _pairs(video, names)
    return ClipAnnotation(
        video.video_id,
        subject=video.subject,
        scene=video.activity,
        frames=tuple(_frame(video, pairs, row, names) for row in sorted(rows)),
        spans=_spans(lines),
        num_frames=video.num_frames,
    )


def _spans(lines: Sequence[ClipLine]) -> tuple[Span, ...]:
    return tuple(Span(line.first, line.last, line.action) for line in lines)


#: Pair of instances, -1 for the person, and the (F, R) predicates of the pair in each frame.
_Pair = tuple[int, int, np.ndarray]


def _pairs(video: VideoAnnotation, names: _Names) -> list[_Pair]:
    """Return the pairs of the chosen kinds, with the predicates in all frames."""
    found: list[_Pair] = []
    for kind in names.kinds:
        if kind.subject is None:
            found += [
                (row, row, _one_hot(states, names.attributes, names.num_predicates))
                for row, states in video.attributes.items()
                if video.classes[row] in kind.objects
            ]
        elif kind.subject == PERSON:
            found += _person_pairs(video, kind.objects, names)
        else:
            found += [
                (subject, row, _one_hot(states, names.relations, names.num_predicates))
                for (subject, row), states in video.relations.items()
                if video.classes[subject] == kind.subject and video.classes[row] in kind.objects
            ]
    return found


def _person_pairs(video: VideoAnnotation, objects: Sequence[str], names: _Names) -> list[_Pair]:
    """Return the pairs of the person, whose predicates are those of the hands and of the head.

    The person holds what one of the hands holds.
    """
    merged: dict[int, np.ndarray] = {}
    for (subject, row), states in video.relations.items():
        if video.classes[subject] in PARTS and video.classes[row] in objects:
            said = _one_hot(states, names.relations, names.num_predicates)
            merged[row] = merged[row] | said if row in merged else said
    for said in merged.values():
        said[said[:, names.holding], names.not_holding] = False
    return [(-1, row, said) for row, said in merged.items()]


def _one_hot(states: np.ndarray, columns: Sequence[int], num: int) -> np.ndarray:
    said = np.zeros((len(states), num), bool)
    said[np.arange(len(states)), np.array(columns)[states]] = True
    return said


def _frame(
    video: VideoAnnotation, pairs: Sequence[_Pair], index: int, names: _Names
) -> FrameAnnotation:
    """Return the boxes and pairs of a frame."""
    visible = video.visible[:, index].nonzero()[0].tolist()
    boxes = {row: _xyxy(video.boxes[row, index]) for row in visible}
    parts = [box for row, box in boxes.items() if video.classes[row] in PARTS]
    if parts:
        corners = np.array(parts)
        boxes[-1] = np.concatenate([corners[:, :2].min(0), corners[:, 2:].max(0)])
    if names.options.occluded:
        boxes = {row: boxes.get(row, np.zeros(4)) for row in range(-1, len(video.objects))}
    there = [pair for pair in pairs if pair[0] in boxes and pair[1] in boxes]
    used = boxes if names.options.every_box else {row for pair in there for row in pair[:2]}
    rows = sorted(used)
    place = {row: i for i, row in enumerate(rows)}
    labels = [0 if row < 0 else names.objects[video.classes[row]] for row in rows]
    said = [predicates[index] for _, _, predicates in there]
    pair_rows = [(place[first], place[second]) for first, second, _ in there]
    return FrameAnnotation(
        index,
        torch.tensor(np.array([boxes[row] for row in rows]), dtype=torch.float32).reshape(-1, 4),
        torch.tensor(labels, dtype=torch.int64),
        torch.tensor(np.array(said), dtype=torch.bool).reshape(-1, names.num_predicates),
        image_size=None,
        split=None,
        pairs=torch.tensor(pair_rows, dtype=torch.int64).reshape(-1, 2),
        instances=torch.tensor(rows, dtype=torch.int64) + 1,
        is_person_partial=True,
    )


def _xyxy(box: np.ndarray) -> np.ndarray:
    """Return the corners (x1, y1, x2, y2) of a box (x, y, width, height)."""
    return np.concatenate([box[:2], box[:2] + box[2:]])
