"""How well scores distinguish inverse actions, such as taking and putting a cup.

The classes of an inverse pair consist of the same relations in reverse order, so a model that does
not use the order of frames prefers the right class by chance only.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from omegaconf import OmegaConf

from pipeline.errors import UsageError
from pipeline.weights.files import ROOT

SETTING = "inverse_pairs"


@dataclass(frozen=True)
class InversePairScores:
    """Results over all cases: (video, pair) with exactly one of the two classes.

    Attributes:
        cases: number of cases.
        accuracy: share of cases in which the class that happens has the higher score; None without
            cases.
        flips: share of cases in which the preference changes its sign on the reversed video; None
            without cases.
    """

    cases: int
    accuracy: float | None
    flips: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON."""
        return asdict(self)


def score_inverse_pairs(
    scores: Float[np.ndarray, "V C"],
    reversed_scores: Float[np.ndarray, "V C"],
    labels: Bool[np.ndarray, "V C"],
    pairs: Sequence[tuple[int, int]],
) -> InversePairScores:
    """Pool the cases of all pairs.

    Args:
        scores: scores of the videos.
        reversed_scores: scores of the same videos, with the frames in reverse order.
        labels: True where a video has the action.
        pairs: columns of the two classes of each pair.

    Returns:
        Accuracy and flips. Equal scores of both classes are a wrong preference.
    """
    wins, flips = [], []
    for first, second in pairs:
        rows = labels[:, first] != labels[:, second]
        lead = scores[rows, first] - scores[rows, second]
        wins.append(np.where(labels[rows, first], lead, -lead) > 0)
        flips.append(lead * (reversed_scores[rows, first] - reversed_scores[rows, second]) < 0)
    won = np.concatenate([*wins, np.zeros(0, bool)])
    flipped = np.concatenate([*flips, np.zeros(0, bool)])
    if not len(won):
        return InversePairScores(0, None, None)
    return InversePairScores(len(won), float(won.mean()), float(flipped.mean()))


def read_inverse_pairs(name: str | None, class_ids: Sequence[str]) -> list[tuple[int, int]]:
    """Read the inverse pairs of a list of classes.

    Args:
        name: YAML file with `inverse_pairs`, a list of two class ids each, or with `actions`, each
            with `id` and optionally `inverse`. A relative path is relative to the working directory
            or else to the repository. None for no pairs.
        class_ids: ids of the C classes.

    Returns:
        Columns of the pairs of which both classes are in the list.

    Raises:
        UsageError: if the file does not exist or has another format, or a class is in two pairs.
    """
    if name is None:
        return []
    try:
        path = Path(name) if Path(name).is_file() else ROOT / name
        is_file = path.is_file()
    except OSError as error:  # for example, a name that is too long
        raise UsageError(f"{SETTING}: {error.strerror}: {name[:80]}") from error
    if not is_file:
        raise UsageError(f"{SETTING}: file not found: {name}")
    try:
        tree: Any = OmegaConf.to_container(OmegaConf.load(path))
        if "inverse_pairs" in tree:
            pairs = [_pair(row) for row in tree["inverse_pairs"]]
        else:
            rows = [row for row in tree["actions"] if row.get("inverse") is not None]
            pairs = [(str(row["id"]), str(row["inverse"])) for row in rows]
        named = [class_id for pair in pairs for class_id in pair]
        if len(set(named)) < len(named):
            raise ValueError("each class in at most one pair expected")
    except Exception as error:
        raise UsageError(
            f"{SETTING}: {path}: `inverse_pairs` with two class ids each expected, got "
            f"{type(error).__name__}: {str(error)[:80]}"
        ) from error
    column = {class_id: index for index, class_id in enumerate(class_ids)}
    return [(column[a], column[b]) for a, b in pairs if a in column and b in column]


def _pair(row: Any) -> tuple[str, str]:
    if not isinstance(row, list) or len(row) != 2:
        raise ValueError(f"two class ids expected, got {str(row)[:40]}")
    return str(row[0]), str(row[1])
