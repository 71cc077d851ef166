"""Card of a trained LaIAR network."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from model.build import build_laiar
from model.laiar import LaIAR
from model.settings import LaIARSettings
from pipeline.cache.folder import FOLDER_SCHEMA, CacheInfo
from pipeline.config.schema import UnionKind
from pipeline.weights.cards import Card
from relations.settings import MAX_LAYERS, MAX_SIZE


@dataclass(frozen=True)
class ModelCard(Card):
    """Describes a network and what it was trained on.

    Attributes:
        settings: of LaIAR, resolved.
        cache: what all clips shared (objects, predicates, classes, detector, settings).
        relations: source of predicates in training.
        box_features: F; union_channels: Cu.
        multi_label: several actions per video.
        training: seed, epochs, number of videos, versions of packages.
    """

    SCHEMA: ClassVar[str] = "laiar.model/1"

    settings: LaIARSettings
    cache: CacheInfo
    relations: str
    box_features: int
    union_channels: int
    multi_label: bool = True
    training: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the card as JSON."""
        return super().to_dict() | {"cache": self.cache.to_dict()}

    @classmethod
    def from_dict(cls, tree: Any) -> "ModelCard":
        """Make a card from JSON; see `Card.from_dict`. ValueError for sizes that are too large."""
        card = super().from_dict(tree)
        if tree["cache"].get("schema") != FOLDER_SCHEMA:
            raise ValueError(f"cache.schema: {FOLDER_SCHEMA} expected")
        if card.cache.settings.union not in UnionKind.__members__:
            raise ValueError(f"cache.settings.union: {' or '.join(UnionKind.__members__)} expected")
        for name, value in (vars(card) | vars(card.settings)).items():
            high = MAX_LAYERS if name == "layers" else MAX_SIZE
            if isinstance(value, int | float) and value > high:
                raise ValueError(f"{name}: at most {high} expected, got {value}")
        for name, kind in {"seed": int, "validation_fraction": int | float}.items():
            if not isinstance(card.training.get(name, 0), kind):
                raise ValueError(f"training.{name}: a number expected")
        return card

    def build(self) -> LaIAR:
        """Build the network, without weights."""
        sizes = {group: len(names) for group, names in self.cache.predicate_groups.items()}
        return build_laiar(
            num_classes=len(self.cache.classes),
            num_objects=len(self.cache.objects),
            group_sizes=sizes,
            box_features=self.box_features,
            union_channels=self.union_channels,
            settings=self.settings,
        )
