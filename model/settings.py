"""Every choice the paper leaves open, and the two presets."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class LaIARSettings:
    """Sizes and readings of LaIAR.

    `strict`: select first, pool context over kept tokens alone (`context=kept`), drop the rest
    (`discard=mask`), positions of time alone: what is discarded cannot move the score. `paper`: the
    network as published (`all`, `zero`, `time-slot`): GPO pools all tokens into every token before
    selection, and zeroed tokens still take attention.

    Attributes:
        preset: `strict` or `paper`; decides the three that follow where they are None.
        context: `kept` or `all`.
        discard: `mask` or `zero`.
        positions: `time` or `time-slot`.
        num_frames: T, positions in time.
        max_pairs: K, positions of slots (time-slot only).
        dim: D; layers, heads, mlp_ratio, dropout: of the transformer.
        part_width, union_width, class_embeddings: of Eq. 1 (None: no class embeddings).
        predicate_pooling, predicate_threshold: of Eq. 2.
        temporal_selection, spatial_selection: off means that map keeps everything.
        initial_keep, gumbel_temperature: of the selectors.
        shared_transformer: one DT-Former for both branches.

    Raises:
        ValueError: for a word that is none of the above.
    """

    preset: str = "strict"
    context: str | None = None
    discard: str | None = None
    positions: str | None = None
    num_frames: int = 16
    max_pairs: int = 10
    dim: int = 512
    layers: int = 4
    heads: int = 8
    mlp_ratio: float = 4.0
    dropout: float = 0.1
    part_width: int = 512
    union_width: int = 256
    class_embeddings: bool | None = None
    predicate_pooling: str = "active"
    predicate_threshold: float = 0.5
    temporal_selection: bool = True
    spatial_selection: bool = True
    initial_keep: float = 0.9
    gumbel_temperature: float = 1.0
    shared_transformer: bool = True

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in choices and not (value is None and name != "preset"):
                raise ValueError(f"{name}: {' or '.join(choices)} expected, got {value!r}")
        if self.predicate_pooling not in ("active", "soft"):
            raise ValueError(
                f"predicate_pooling: active or soft expected, got {self.predicate_pooling!r}"
            )
        sizes = ("num_frames", "max_pairs", "dim", "layers", "heads", "part_width")
        for name, low in (*((name, 1) for name in sizes), ("union_width", 2)):
            if getattr(self, name) < low:
                raise ValueError(f"{name}: at least {low} expected, got {getattr(self, name)}")
        for name in ("initial_keep", "mlp_ratio", "gumbel_temperature"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: above 0 expected, got {getattr(self, name)}")
        for name in ("initial_keep", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}: from 0 to below 1 expected, got {getattr(self, name)}")
        if self.dim % self.heads:
            raise ValueError(f"dim: a multiple of heads={self.heads} expected, got {self.dim}")

    def resolved(self) -> "LaIARSettings":
        """The same with the preset's readings written out."""
        column = 0 if self.preset == "strict" else 1
        return replace(
            self,
            context=self.context or _CHOICES["context"][column],
            discard=self.discard or _CHOICES["discard"][column],
            positions=self.positions or _CHOICES["positions"][column],
        )


#: Of the readings the first is that of `strict`, the second that of `paper`.
_CHOICES = {
    "preset": ("strict", "paper"),
    "context": ("kept", "all"),
    "discard": ("mask", "zero"),
    "positions": ("time", "time-slot"),
}
