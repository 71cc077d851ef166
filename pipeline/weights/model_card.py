"""Card of a trained network."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from model.build import build_baseline, build_laiar
from model.network import ActionNetwork
from model.settings import LaIARSettings
from pipeline.cache.clip_features import ClipFeatureInfo
from pipeline.cache.folder import CacheInfo
from pipeline.config.ranges import check_values, one_of, ranged
from pipeline.config.schema import Branch, TrainConfig
from pipeline.weights.cards import Card
from relations.settings import MAX_LAYERS, MAX_SIZE


@dataclass(frozen=True)
class ModelCard(Card):
    """Card of a trained network, LaIAR or a baseline, and its training data.

    Attributes:
        settings: resolved settings of the network.
        cache: properties of the training's cache (objects, predicates, classes, detector,
            settings).
        relations: relation source of the training.
        columns: classes of the cache that the network predicts, as increasing indices; None for
            all classes. Column c of its scores is the class `columns[c]`.
        branch: `both`, or `language` for a network without the video branch.
        box_features: width F of the box features.
        union_channels: number of channels Cu of the union features.
        num_labels: number of labels that the video branch reads tokens as; 0 without reading.
        multi_label: True if a video can have several actions.
        longest_s: length of the longest training video in seconds, or 0 if it is unknown.
        clip_features: properties of the clip features that the video branch reads, or None.
        training: seed, epochs, number of videos and package versions of the training run.

    Raises:
        ValueError: if a size is too large, a baseline has no video branch, the columns are not
            increasing indices of classes, or the seed or the validation fraction is not a number.
        UsageError: if the seed or the validation fraction is out of range.
    """

    SCHEMA: ClassVar[str] = "laiar.model/3"

    settings: LaIARSettings
    cache: CacheInfo
    relations: str
    box_features: int
    union_channels: int
    num_labels: int = ranged(0, 0)
    multi_label: bool = True
    columns: tuple[int, ...] | None = None
    branch: str = one_of("both", Branch.__members__)
    longest_s: float = ranged(0.0, 0)
    clip_features: ClipFeatureInfo | None = None
    training: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in (vars(self) | vars(self.settings)).items():
            high = MAX_LAYERS if name == "layers" else MAX_SIZE
            if isinstance(value, int | float) and value > high:
                raise ValueError(f"{name}: at most {high} expected, got {value}")
        if self.settings.is_baseline and self.scored_branch != "video":
            raise ValueError(f"branch: both expected with network={self.settings.network}")
        rows = self.columns
        if rows is not None and (
            not rows
            or [*rows] != sorted(set(rows))
            or not 0 <= rows[0] <= rows[-1] < len(self.cache.classes)
        ):
            raise ValueError(f"columns: increasing indices of classes expected, got {rows}")
        chosen = {name: self.training.get(name, 0) for name in ("seed", "validation_fraction")}
        for name, kind in {"seed": int, "validation_fraction": int | float}.items():
            if not isinstance(chosen[name], kind) or isinstance(chosen[name], bool):
                raise ValueError(f"training.{name}: a number expected, got {chosen[name]!r}")
        check_values(TrainConfig, chosen, "training.")

    def to_dict(self) -> dict[str, Any]:
        """Return the card as JSON, without the path of the clip features."""
        tree = super().to_dict()
        del tree["settings"]["clip_features"]
        if self.clip_features is None:  # as in earlier versions, so that their runs can be resumed
            del tree["clip_features"]
        return tree

    @property
    def classes(self) -> tuple[tuple[str, str], ...]:
        """(id, name) of each class that the network predicts, in the order of its scores."""
        known = self.cache.classes
        return known if self.columns is None else tuple(known[c] for c in self.columns)

    @property
    def scored_branch(self) -> str:
        """Branch that gives the scores: `video`, or `language` without a video branch."""
        return "video" if self.branch == Branch.both.name else "language"

    def build(self) -> ActionNetwork:
        """Build the network without trained weights."""
        if self.settings.is_baseline:
            return build_baseline(
                num_classes=len(self.classes),
                num_objects=len(self.cache.objects),
                box_features=self.box_features,
                union_channels=self.union_channels,
                settings=self.settings,
            )
        sizes = {group: len(names) for group, names in self.cache.predicate_groups.items()}
        return build_laiar(
            num_classes=len(self.classes),
            num_objects=len(self.cache.objects),
            group_sizes=sizes,
            box_features=self.box_features,
            union_channels=self.union_channels,
            settings=self.settings,
            has_video=self.branch == Branch.both.name,
            num_labels=self.num_labels,
            multi_label=self.multi_label,
            clip_width=self.clip_features.width if self.clip_features else 0,
        )
