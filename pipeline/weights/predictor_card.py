"""Card of the weights of a relation predictor."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pipeline.weights.cards import Card
from relations.settings import PredictorSettings

GROUPS = ("attention", "spatial", "contacting")


@dataclass(frozen=True)
class PredictorCard(Card):
    """Card of the weights of a relation predictor.

    Attributes:
        settings: settings of the network.
        objects: names of the O object classes, person first.
        predicate_groups: maps each predicate group to the names of its predicates, in index order.
        detector: `ResolvedDetector.weights` of the detector whose features the predictor was
            trained on, or None if it is unknown.
        origin: sentence that describes how the weights were created.
        details: details of the origin, such as the SHA-256 of the source file, the training
            settings and scores.

    Raises:
        ValueError: if the number of objects or of predicates in a group differs from the number in
            `settings`, or the groups are not attention, spatial and contacting.
    """

    SCHEMA: ClassVar[str] = "laiar.predictor/1"

    settings: PredictorSettings
    objects: tuple[str, ...]
    predicate_groups: dict[str, tuple[str, ...]]
    detector: str | None
    origin: str
    details: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_groups(self.predicate_groups)
        s = self.settings
        for what, words, size in (
            ("objects", self.objects, s.num_objects),
            *((g, self.predicate_groups[g], getattr(s, g)) for g in GROUPS),
        ):
            if len(words) != size:
                raise ValueError(f"{what}: {size} names expected, got {len(words)}")


def check_groups(groups: Iterable[str]) -> None:
    """Check that the groups are attention, spatial and contacting, in this order.

    Raises:
        ValueError: if the groups or their order are not as above.
    """
    groups = tuple(groups)
    if groups != GROUPS:
        raise ValueError(
            f"predicate groups {', '.join(GROUPS)} expected, in this order, got {', '.join(groups)}"
        )
