"""What a file of relation predictor weights is."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from pipeline.errors import UsageError
from pipeline.weights.cards import read_card_dict, save_carded
from relations.settings import PredictorSettings

PREDICTOR_SCHEMA = "laiar.predictor/1"
GROUPS = ("attention", "spatial", "contacting")


@dataclass(frozen=True)
class PredictorCard:
    """Sizes, words and origin of a relation predictor.

    Attributes:
        settings: sizes.
        objects: names of the O object classes, person first.
        predicate_groups: group -> names of its predicates, in index order.
        detector: weights of the detector whose features it was trained on (`DetectorIdentity`), or
            None if they are not known.
        origin: where the weights come from, in words.
        details: of the origin: source file's hash, training, scores.

    Raises:
        ValueError: if the words are not as many as the sizes say, or the groups are not
            attention, spatial and contacting.
    """

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

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "schema": PREDICTOR_SCHEMA,
            "settings": asdict(self.settings),
            "objects": list(self.objects),
            "predicate_groups": [[g, list(names)] for g, names in self.predicate_groups.items()],
            "detector": self.detector,
            "origin": self.origin,
            "details": self.details,
        }

    @classmethod
    def from_dict(cls, tree: Any) -> "PredictorCard":
        """Inverse of `to_dict`; ValueError for anything else."""
        if not isinstance(tree, dict) or tree.get("schema") != PREDICTOR_SCHEMA:
            raise ValueError(f"a card of schema {PREDICTOR_SCHEMA} expected")
        try:
            settings = PredictorSettings(**tree["settings"])
            check_groups(str(group) for group, _ in tree["predicate_groups"])
            return cls(
                settings,
                tuple(map(str, tree["objects"])),
                {str(g): tuple(map(str, names)) for g, names in tree["predicate_groups"]},
                None if tree["detector"] is None else str(tree["detector"]),
                str(tree["origin"]),
                dict(tree["details"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"a card of schema {PREDICTOR_SCHEMA} expected: {error!r}") from error


def check_groups(groups: Iterable[str]) -> None:
    """ValueError unless the groups are attention, spatial and contacting, each once, in order."""
    groups = tuple(groups)
    if groups != GROUPS:
        raise ValueError(
            f"predicate groups {', '.join(GROUPS)} expected, in this order, got {', '.join(groups)}"
        )


def save_predictor(
    path: Path, state: Mapping[str, Tensor], card: PredictorCard, *, half: bool = False
) -> str:
    """Write weights and card; see `save_carded`."""
    return save_carded(path, state, card.to_dict(), half=half)


def read_predictor_card(path: Path, setting: str) -> PredictorCard:
    """The card in the header of a weights file.

    Raises:
        UsageError: if the file is no safetensors file, or has no card of a relation predictor.
            `setting` names the file in the message.
    """
    tree = read_card_dict(path, setting)
    try:
        return PredictorCard.from_dict(tree)
    except ValueError as error:
        raise UsageError(
            f"{setting}: {path}: weights of a relation predictor expected: {error}"
        ) from error
