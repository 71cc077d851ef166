"""Sizes, options and presets of LaIAR and of the baselines.

The options cover choices that the paper leaves open.
"""

from dataclasses import dataclass, replace
from typing import Any

#: Largest accepted value of `tolerance`, in nats.
MAX_TOLERANCE = 1000.0
#: Networks: LaIAR, and the baselines of `model.baselines`.
NETWORKS = ("laiar", "transformer", "graph")


@dataclass(frozen=True)
class LaIARSettings:
    """Sizes and options of LaIAR and of the baselines.

    The preset sets every option that is None:

    - `strict` is our network. The tokens are selected first, and discarded tokens are excluded
      from attention. For a fixed selection and fixed tracks, the logits do not depend on the
      discarded tokens. Each kept token carries the change since the previous kept token of its
      track, and the video branch reads visual tokens as labels.
    - `paper` is the published network. GPO pools the context over all tokens before the selection.
      Discarded tokens are set to zero, but they still receive attention.

    | option | `strict` | `paper` |
    | --- | --- | --- |
    | context | none | all |
    | discard | mask | zero |
    | positions | seconds | time-slot |
    | encoder | mlp | linear |
    | transitions | True | False |
    | votes | True | False |
    | reading | True | False |
    | selector | subset | gumbel |

    A baseline keeps every token. Its preset sets only `encoder`. The options context, discard,
    positions, transitions, votes and reading have fixed values (`Baseline`), and those of the
    selectors and of the language branch have no effect.

    Attributes:
        preset: `strict` or `paper`.
        network: `laiar`, or a baseline: `transformer` (`TokenTransformer`) or `graph`
            (`TokenGraph`).
        context: tokens over which the context is pooled: `none`, `kept` or `all`.
        discard: treatment of discarded tokens, `mask` (excluded from attention) or `zero` (set to
            zero).
        positions: learned position embeddings per frame (`time`) or per frame and slot
            (`time-slot`), or a fixed encoding of the time in seconds (`seconds`).
        encoder: encoder of relation features in the joint space, `linear` or `mlp`
            (`RelationEncoder`). With reading, the encoder of tokens is always linear.
        transitions: if True, each kept token carries the change since the previous kept token of
            its track (`TransitionEncoder`).
        votes: if True, every kept token votes for the actions (`Readout`).
        reading: if True, the video branch reads visual tokens as labels (`LabelReader`), and both
            branches share the readout of action logits.
        selector: `gumbel`, the selectors of Eq. 3 (`TokenSelector`), or `subset`, a selector that
            learns which tokens preserve the prediction (`SubsetSelector`). `subset` requires
            discard=mask and another context than `all`; with other settings, None selects
            `gumbel`.
        num_frames: maximum number of frames, T.
        sample_ends: if True, the first and the last frame of a video in the cache are always
            sampled. If the cache has all frames, a change at the edge of a clip is then seen, which
            the centres of segments may miss.
        shuffle_frames: if True, the frames of each video are read in a random order, in training
            and in evaluation. Such a network cannot use the order of events.
        max_pairs: maximum number of slots per frame, K. The network uses it only with
            positions=time-slot.
        dim: width of the joint space and the transformer, D; a multiple of `heads`.
        layers: number of transformer blocks.
        heads: number of attention heads.
        mlp_ratio: hidden width of the transformer's MLPs, as a multiple of `dim`.
        dropout: dropout probability of the transformer.
        part_width: width of each part of Eq. 1.
        union_width: channels of u and f_box in Eq. 1.
        class_embeddings: if True, class embeddings are appended to the features of Eq. 1. None is
            equivalent to False.
        predicate_pooling: pooling of Eq. 2, see `SemanticRelation`.
        tolerance: largest divergence in nats between the prediction from the tokens that
            selector=subset keeps and the prediction from all tokens (`preserving_subset`).
        temporal_selection: if False, the temporal selector keeps every frame.
        spatial_selection: if False, the spatial selector keeps every token, and selector=subset
            keeps whole frames. If both are False, every token is kept.
        initial_keep: initial probability that a selector of selector=gumbel keeps a token.
        gumbel_temperature: temperature of the Gumbel-softmax of selector=gumbel.
        shared_transformer: if True, both branches share one DT-Former. With reading, they always
            do.
        clip_features: folder of tools.clip_features, whose vectors the video branch reads
            (`ClipReadout`), or None. It is a path of the command, not stored in the card.

    Raises:
        ValueError: if a value is unknown or out of range.
    """

    preset: str = "strict"
    network: str = "laiar"
    context: str | None = None
    discard: str | None = None
    positions: str | None = None
    encoder: str | None = None
    transitions: bool | None = None
    votes: bool | None = None
    reading: bool | None = None
    selector: str | None = None
    num_frames: int = 16
    sample_ends: bool = False
    shuffle_frames: bool = False
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
    tolerance: float = 0.03
    temporal_selection: bool = True
    spatial_selection: bool = True
    initial_keep: float = 0.9
    gumbel_temperature: float = 1.0
    shared_transformer: bool = True
    clip_features: str | None = None

    def __post_init__(self) -> None:
        if self.network not in NETWORKS:
            raise ValueError(f"network: {' or '.join(NETWORKS)} expected, got {self.network!r}")
        for name, fixed in _BASELINE.items() if self.is_baseline else ():
            if getattr(self, name) not in (None, fixed):
                raise ValueError(
                    f"{name}: no value or {fixed} expected with network={self.network}, got "
                    f"{getattr(self, name)!r}"
                )
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in choices and not (value is None and name != "preset"):
                expected = " or ".join(str(choice) for choice in choices)
                raise ValueError(f"{name}: {expected} expected, got {value!r}")
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
        if not 0 <= self.tolerance <= MAX_TOLERANCE:
            raise ValueError(f"tolerance: 0 to {MAX_TOLERANCE:g} expected, got {self.tolerance}")
        for name in ("initial_keep", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}: from 0 to below 1 expected, got {getattr(self, name)}")
        if self.dim % self.heads:
            raise ValueError(f"dim: a multiple of heads={self.heads} expected, got {self.dim}")

    def resolved(self) -> "LaIARSettings":
        """Return a copy in which options that are None have the value of the preset.

        The options of a baseline have their fixed values, without selection.
        """
        column = 0 if self.preset == "strict" else 1
        chosen: dict[str, Any] = {
            name: getattr(self, name) if getattr(self, name) is not None else choices[column]
            for name, choices in _CHOICES.items()
        }
        if self.is_baseline:
            chosen |= _BASELINE | {"temporal_selection": False, "spatial_selection": False}
        settings = replace(self, **chosen)
        if settings.selector == "gumbel" or settings.is_strict:
            return settings
        if self.selector is not None:
            raise ValueError(
                "selector: gumbel expected with discard=zero or context=all, because discarded "
                f"tokens then change the logits; got {self.selector!r}"
            )
        return replace(settings, selector="gumbel")

    @property
    def is_baseline(self) -> bool:
        """Whether the network is a baseline, which has no language branch and no explanations."""
        return self.network != "laiar"

    @property
    def selects(self) -> bool:
        """Whether the network selects frames or tokens."""
        return self.temporal_selection or self.spatial_selection

    @property
    def is_strict(self) -> bool:
        """Whether the logits do not depend on discarded tokens; for resolved settings."""
        return self.context != "all" and self.discard == "mask"

    @property
    def has_context_in_joint_space(self) -> bool:
        """Whether embeddings in the joint space include a pooled context; for resolved settings."""
        return self.context == "all" and not self.reading


#: Values of each option. The preset `strict` selects the first value and `paper` the second.
_CHOICES: dict[str, tuple[str, ...] | tuple[bool, ...]] = {
    "preset": ("strict", "paper"),
    "context": ("none", "all", "kept"),
    "discard": ("mask", "zero"),
    "positions": ("seconds", "time-slot", "time"),
    "encoder": ("mlp", "linear"),
    "transitions": (True, False),
    "votes": (True, False),
    "reading": (True, False),
    "selector": ("subset", "gumbel"),
}
#: Values of options that a baseline fixes.
_BASELINE: dict[str, str | bool] = {
    "context": "none",
    "discard": "mask",
    "positions": "seconds",
    "transitions": False,
    "votes": False,
    "reading": False,
}
