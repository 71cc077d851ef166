"""Every choice the paper leaves open, and the two presets."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LaIARSettings:
    """Sizes and readings of LaIAR.

    `strict`: select first, pool context over kept tokens alone (`context=kept`), drop the rest
    (`discard=mask`), positions of time alone: what is discarded cannot move the score. `paper`: the
    network as published (`all`, `zero`, `time-slot`): GPO pools all tokens into every token before
    selection, and zeroed tokens still take attention.

    Attributes:
        preset: `strict` or `paper`; fills in the three that follow where they are None.
        context: `kept` or `all`.
        discard: `mask` or `zero`.
        positions: `time` or `time-slot`.
        num_frames: T, positions in time.
        max_pairs: K, positions of slots (time-slot only).
        dim: D; layers, heads, mlp_ratio, dropout: of the transformer.
        part_width, union_width, class_embeddings: of Eq. 1.
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
    class_embeddings: bool = False
    predicate_pooling: str = "active"
    predicate_threshold: float = 0.5
    temporal_selection: bool = True
    spatial_selection: bool = True
    initial_keep: float = 0.9
    gumbel_temperature: float = 1.0
    shared_transformer: bool = True

    def __post_init__(self) -> None:
        if self.preset not in ("strict", "paper"):
            raise ValueError(f"preset: strict or paper expected, got {self.preset!r}")
        strict = self.preset == "strict"
        for name, choices in (
            ("context", ("kept", "all")),
            ("discard", ("mask", "zero")),
            ("positions", ("time", "time-slot")),
        ):
            value = getattr(self, name) or choices[0 if strict else 1]
            if value not in choices:
                raise ValueError(f"{name}: {' or '.join(choices)} expected, got {value!r}")
            object.__setattr__(self, name, value)
