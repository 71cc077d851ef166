"""Choice of the person whose pairs are extracted."""

from collections import Counter
from typing import Any

from torch import Tensor

from detection.detections import Detections
from relations.pairs import PERSON, Kinds, pairs_of_kinds
from relations.people import PeopleCounter


class PersonChoice:
    """Choice of the person whose pairs are extracted.

    Args:
        person: number of the person (`PeopleCounter`), or None for the person with the highest
            score in each frame.
        kinds: kinds of pairs, see `pairs_of_kinds`.

    Attributes:
        counter: counter of the people.
        read: number of frames in which the pairs of each person are extracted.
        num_frames: number of frames.

    If no kind has the person, people are not counted.
    """

    def __init__(self, person: int | None = None, kinds: Kinds = ()) -> None:
        self.person, self.kinds, self.counter = person, kinds, PeopleCounter()
        self.read: Counter[int] = Counter()
        self.num_frames = 0

    def pairs(self, found: Detections) -> Tensor:
        """Return the (P, 2) pairs of the chosen person in the next frame."""
        self.num_frames += 1
        if self.kinds and all(subject != PERSON for subject, _ in self.kinds):
            return pairs_of_kinds(found.labels, found.scores, self.kinds)
        rows = self.counter.number(
            found.boxes.cpu(), found.labels.cpu(), found.scores.cpu(), found.features.cpu()
        )
        if self.person is None:
            pairs = pairs_of_kinds(found.labels, found.scores, self.kinds)
            humans = {*pairs[:, 0].tolist()}
            self.read.update(person for person, row in rows.items() if row in humans)
            return pairs
        if self.person not in rows:
            return found.labels.new_zeros(0, 2)
        self.read[self.person] += 1
        return pairs_of_kinds(found.labels, found.scores, self.kinds, rows[self.person])

    def is_absent(self) -> bool:
        """Return whether a person was chosen who is in no frame."""
        return self.person is not None and not self.read[self.person]

    def has_several(self) -> bool:
        """Return whether a second person is visible in at least a quarter of the frames."""
        counts = sorted(self.counter.frames.values(), reverse=True)
        return len(counts) > 1 and 4 * counts[1] >= self.num_frames

    def to_dict(self) -> dict[str, Any]:
        """Return the chosen person and the numbers of frames of each person as JSON."""
        people = [
            {"id": person, "frames": frames, "read": self.read[person]}
            for person, frames in sorted(self.counter.frames.items())
        ]
        return {"chosen": self.person, "people": people}
