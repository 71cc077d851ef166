"""Card of the weights of a relation predictor."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from pipeline.weights.cards import Card
from relations.settings import PredictorSettings

#: Schema of the cards of earlier versions, whose settings have a field for the size of each of
#: these groups.
_OLD_SCHEMA, _OLD_GROUPS = "laiar.predictor/1", ("attention", "spatial", "contacting")


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
            `settings`, or the groups or their order differ from those in `settings`.
    """

    SCHEMA: ClassVar[str] = "laiar.predictor/2"

    settings: PredictorSettings
    objects: tuple[str, ...]
    predicate_groups: dict[str, tuple[str, ...]]
    detector: str | None
    origin: str
    details: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        s = self.settings
        if list(self.predicate_groups) != list(s.groups):
            raise ValueError(
                f"predicate groups {', '.join(s.groups)} expected, in this order, got "
                f"{', '.join(self.predicate_groups)}"
            )
        for what, words, size in (
            ("objects", self.objects, s.num_objects),
            *((group, self.predicate_groups[group], size) for group, size in s.groups.items()),
        ):
            if len(words) != size:
                raise ValueError(f"{what}: {size} names expected, got {len(words)}")

    @classmethod
    def from_dict(cls, tree: Any) -> "PredictorCard":
        """Create a card from JSON of this version or of version 1, see `TypedJson.from_dict`."""
        if isinstance(tree, dict) and tree.get("schema") == _OLD_SCHEMA:
            tree = tree | {"schema": cls.SCHEMA}
            if isinstance(settings := tree.get("settings"), dict):
                rest = {k: v for k, v in settings.items() if k not in _OLD_GROUPS}
                sizes = [[g, settings[g]] for g in _OLD_GROUPS if g in settings]
                tree["settings"] = rest | ({"groups": sizes} if sizes else {})
        return super().from_dict(tree)
