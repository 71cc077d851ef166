"""Numbering of the people of a video."""

from collections import Counter

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from relations.pairs import PERSON
from relations.tracks import match_rows

#: Boxes with a smaller score are often parts of a person. The best box of a frame is always used.
LEAST_SCORE = 0.5


class PeopleCounter:
    """Numbers the human boxes of successive frames by person.

    The boxes are the one with the highest score in each frame, and all others with a score of at
    least `LEAST_SCORE`.
    In each frame, the boxes are matched with the last boxes of the known people, as in
    `link_tracks`. Boxes that remain are new people. People are numbered from 1 by first appearance,
    and in one frame by descending score.

    Attributes:
        frames: number of frames that show each person.
    """

    def __init__(self) -> None:
        self.frames: Counter[int] = Counter()
        self._boxes = torch.zeros(0, 4)
        self._features = torch.zeros(0, 0)

    def number(
        self,
        boxes: Float[Tensor, "N 4"],
        labels: Int64[Tensor, "N"],
        scores: Float[Tensor, "N"],
        features: Float[Tensor, "N F"],
    ) -> dict[int, int]:
        """Number the people of the next frame.

        Args:
            boxes: xyxy, pixels.
            labels: object classes of the boxes.
            scores: scores of the boxes.
            features: box features.

        Returns:
            Row of each visible person by number.
        """
        rows = (labels == PERSON).nonzero()[:, 0].tolist()
        rows.sort(key=lambda row: -float(scores[row]))
        rows = rows[:1] + [row for row in rows[1:] if float(scores[row]) >= LEAST_SCORE]
        num, found = len(self._boxes), {}
        if rows and num:
            matches = match_rows(
                torch.cat([self._boxes, boxes[rows]]),
                torch.cat([self._features, features[rows].float()]),
                [*range(num, num + len(rows))],
                [*range(num)],
            )
            found = {place + 1: rows[row - num] for row, place in matches}
        if not num:
            self._features = features.new_zeros(0, features.shape[1]).float()
        new = [row for row in rows if row not in found.values()]
        found |= {num + i: row for i, row in enumerate(new, 1)}
        places, seen = [person - 1 for person in found], [*found.values()]
        self._boxes = torch.cat([self._boxes, boxes.new_zeros(len(new), 4)])
        self._features = torch.cat(
            [self._features, self._features.new_zeros(len(new), features.shape[1])]
        )
        self._boxes[places], self._features[places] = boxes[seen], features[seen].float()
        self.frames.update(found.keys())
        return dict(sorted(found.items()))
