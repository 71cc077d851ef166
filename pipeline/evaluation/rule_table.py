"""Actions that the rules of CAD-120 infer from annotated relations and attributes.

Their recall bounds that of a network that sees the same relations in the same frames.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.datasets.cad120 import Release, VideoAnnotation
from pipeline.datasets.cad120.knowledge import NULL


@dataclass(frozen=True)
class RuleHits:
    """Result of the rules for n clips.

    Attributes:
        hits: (n,) bool, True where the rules infer the action of the clip.
        labels: (n,) int64 indices of the actions of the clips.
        subjects: (n,) ids of the filmed persons.
    """

    hits: np.ndarray
    labels: np.ndarray
    subjects: np.ndarray


def rule_table_hits(
    release: Release,
    *,
    sample: Callable[[int], Sequence[int]] = range,
    attributes: bool = True,
    subject_classes: Collection[str] | None = None,
    occluded: bool = True,
) -> RuleHits:
    """Infer the actions of all clips with the rules.

    As in the mAR of the release, a clip with the action `null` is a hit if no action is inferred.
    Another clip is a hit if its action is among the inferred actions.

    Args:
        release: annotations and clips.
        sample: function that returns the sampled rows of a clip with a number of frames, such as
            `partial(segment_rows, num_segments=10)`. Default: all frames.
        attributes: whether the attributes of objects are used.
        subject_classes: classes of the subjects whose relations are used, such as `("hand",)`, or
            None for all classes.
        occluded: whether states are used in frames in which a box of the instance or pair is
            invisible.

    Returns:
        Hits of all clips. A clip of a video with a faulty annotation is not a hit.
    """
    knowledge = release.knowledge
    lines = [line for clip_lines in release.clips.values() for line in clip_lines]
    hits = []
    for line in lines:
        frames = line.first + np.array(sample(line.num_frames), dtype=np.int64)
        found: set[int] = set()
        for object_class, subject_class, states, visible in _states(release.videos[line.video_id]):
            if subject_class is None:
                is_used = attributes
            else:
                is_used = subject_classes is None or subject_class in subject_classes
            if is_used:
                known = frames if occluded else frames[visible[frames]]
                found |= knowledge.rule_actions(states[known].tolist(), object_class, subject_class)
        hits.append(line.action in found if found else knowledge.actions[line.action] == NULL)
    faulty = [line for clip_lines in release.faulty.values() for line in clip_lines]
    lines, hits = [*lines, *faulty], [*hits, *[False] * len(faulty)]
    return RuleHits(
        np.array(hits, dtype=bool),
        np.array([line.action for line in lines], dtype=np.int64),
        np.array([line.subject for line in lines]),
    )


def _states(
    video: VideoAnnotation,
) -> Iterator[tuple[str, str | None, np.ndarray, np.ndarray]]:
    """Yield object class, subject class, (F,) states and (F,) visible of each instance or pair."""
    visible = video.visible
    for row, states in video.attributes.items():
        yield video.classes[row], None, states, visible[row]
    for (subject, target), states in video.relations.items():
        both = visible[subject] & visible[target]
        yield video.classes[target], video.classes[subject], states, both
