"""Every setting of every stage, with its default in sight.

Values come from the dataclasses below, then a YAML file, then `key=value` words of the command
line. An unknown key is an error that names the nearest right one.
"""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.errors import UsageError

Boxes = Enum("Boxes", {"detected": "detected", "ground-truth": "ground-truth"})
Relations = Enum(
    "Relations", {"predicted": "predicted", "ground-truth": "ground-truth", "none": "none"}
)
Backend = Enum("Backend", {"pyav": "pyav"})
Labels = Enum("Labels", {"multi": "multi", "single": "single"})
Selection = Enum("Selection", {"last": "last", "best": "best"})
Precision = Enum("Precision", {"auto": "auto", "fp32": "fp32", "bf16": "bf16", "fp16": "fp16"})


@dataclass
class DecodeConfig:
    """How videos are read."""

    backend: Backend = Backend.pyav
    #: Accept truncated and damaged files, marked DECODE_DEGRADED, instead of failing them.
    tolerant: bool = False
    #: Largest frame accepted, in pixels, checked before anything is converted.
    max_pixels: int = 3840 * 2160
    #: Most frames a video may have.
    max_frames: int = 200_000


@dataclass
class FramesConfig:
    """Which frames of a video are taken."""

    #: Uniform frames with detected boxes; annotated frames are always added.
    num: int = 32


@dataclass
class DetectionConfig:
    """The detector. `weights` is a safetensors file, or `random` (seeded by `seed`)."""

    weights: str | None = None
    preset: str = "action-genome"
    depth: int = 101
    #: Channels of the stem; 64 is the published network.
    width: int = 64
    #: Frames are scaled until their short side has this many pixels.
    short_side: int = 600
    proposals: int = 100
    score_threshold: float = 0.1
    nms_threshold: float = 0.4
    #: Most boxes kept per frame, best scores first.
    max_boxes: int = 64
    seed: int = 0
    #: Frames per forward pass.
    batch_size: int = 1


@dataclass
class TokensConfig:
    """How a cached clip becomes tokens."""

    #: T, frames per video.
    num_frames: int = 16
    #: K, pair slots per frame.
    max_pairs: int = 10


@dataclass
class ModelConfig:
    """LaIAR; `preset` fills in context, discard and positions, which may be set one by one."""

    #: `strict` or `paper`.
    preset: str = "strict"
    #: `all` or `kept`: which tokens GPO pools. None follows the preset.
    context: str | None = None
    #: `mask` or `zero`: what happens to a discarded token. None follows the preset.
    discard: str | None = None
    #: `time` or `time-slot`. None follows the preset.
    positions: str | None = None
    #: Class embeddings in Eq. 1. None: on for detected boxes, off for ground-truth boxes.
    class_embeddings: bool | None = None
    #: `active` (mean over active predicates per group) or `soft` (expectation over scores).
    predicate_pooling: str = "active"
    #: Predicate scores from here on count as active.
    predicate_threshold: float = 0.5
    #: D.
    dim: int = 512
    layers: int = 4
    heads: int = 8
    mlp_ratio: float = 4.0
    dropout: float = 0.1
    #: Width of each of the three parts of Eq. 1.
    part_width: int = 512
    #: Channels to which the 1x1 convolution takes the union features.
    union_width: int = 256
    temporal_selection: bool = True
    spatial_selection: bool = True
    #: Probability of keeping a token before training (sets the selectors' bias).
    initial_keep: float = 0.9
    gumbel_temperature: float = 1.0
    shared_transformer: bool = True


@dataclass
class LossConfig:
    """Weights of Eq. 11 and the readings of its terms."""

    similarity: float = 0.1
    token_selection: float = 1.0
    cross_modal: float = 0.1
    #: `mean` or `sum` over classes, for multi-label BCE and the Bernoulli KL.
    reduction: str = "mean"
    #: `bernoulli` or `softmax`; None follows the label kind (multi: bernoulli, single: softmax).
    cross_modal_kind: str | None = None
    #: Same triplet is no negative in Eq. 8.
    multi_positive: bool = False


@dataclass
class TrainConfig:
    """Optimisation."""

    epochs: int = 30
    batch_size: int = 32
    learning_rate: float = 1e-4
    weight_decay: float = 1e-2
    warmup_steps: int = 200
    clip_norm: float = 1.0
    seed: int = 0
    precision: Precision = Precision.auto
    workers: int = 2
    #: Share of the training videos held out, chosen by a hash of the video id.
    validation_fraction: float = 0.1
    #: Which weights are the result: of the `last` epoch, or the `best` on the held-out videos.
    select: Selection = Selection.last
    #: Steps between two lines of `log.jsonl`.
    log_every: int = 10
    tensorboard: bool = False


@dataclass
class PredictConfig:
    """What a person is shown."""

    #: Actions explained per video, best first.
    top_k: int = 5
    #: A name whose margin to the runner-up is smaller is shown as uncertain.
    margin: float = 0.05


@dataclass
class Config:
    """All of it."""

    dataset: str = "charades"
    vocabulary: str = "action_genome"
    labels: Labels = Labels.multi
    boxes: Boxes = Boxes.detected
    relations: Relations = Relations.none
    #: `auto`, `cpu`, `cuda`, `cuda:1`, …
    device: str = "auto"
    #: Failed videos tolerated; None means no budget: any failure ends with exit code 1, never 3.
    max_failures: int | None = None
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    frames: FramesConfig = field(default_factory=FramesConfig)
    detection: DetectionConfig = field(default_factory=DetectionConfig)
    tokens: TokensConfig = field(default_factory=TokensConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    predict: PredictConfig = field(default_factory=PredictConfig)


def load_config(path: Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Defaults, then a YAML file, then `key=value` words.

    Args:
        path: YAML file, or None for the defaults alone.
        overrides: words such as `train.epochs=3`.

    Returns:
        The resolved configuration.

    Raises:
        UsageError: for an unknown key (names the nearest one), a value of the wrong type, a word
            that is not `key=value`, or a file that cannot be read.
    """
    tree = OmegaConf.structured(Config)
    if path is not None:
        if not path.is_file():
            raise UsageError(f"--config: a YAML file expected, {path} is none")
        try:
            loaded = OmegaConf.load(path)
        except Exception as error:
            raise UsageError(f"{path}: valid YAML expected, {_first_line(error)}") from error
        if not isinstance(loaded, DictConfig):
            raise UsageError(f"{path}: a mapping of settings expected")
        tree = _merge(tree, loaded, str(path))
    for word in overrides:
        key, equals, _ = word.partition("=")
        if not equals or not key or key.startswith("-"):
            raise UsageError(f"settings: key=value expected, got {word!r}")
        try:
            patch = OmegaConf.from_dotlist([word])
        except Exception as error:
            raise UsageError(f"{word!r}: key=value expected, {_first_line(error)}") from error
        tree = _merge(tree, patch, "command line")
    config = OmegaConf.to_object(tree)
    assert isinstance(config, Config)
    _check_choices(config)
    return config


def config_as_dict(config: Config) -> dict[str, Any]:
    """Plain nested dict (enums by name), ready for JSON."""
    tree = OmegaConf.to_container(OmegaConf.structured(config), enum_to_str=True)
    assert isinstance(tree, dict)
    return {str(key): value for key, value in tree.items()}


def _merge(tree: DictConfig, patch: DictConfig, origin: str) -> DictConfig:
    known = set(_keys(tree))
    for key in _keys(patch):
        if key not in known:
            near = difflib.get_close_matches(key, known, 1, 0.4) or difflib.get_close_matches(
                key.rsplit(".", 1)[-1], known, 1, 0.4
            )
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"{origin}: unknown setting {key!r}{hint}")
    try:
        merged = OmegaConf.merge(tree, patch)
    except OmegaConfBaseException as error:
        where = error.full_key or ", ".join(_keys(patch))
        raise UsageError(f"{origin}: {where}: {_first_line(error)}") from error
    assert isinstance(merged, DictConfig)
    return merged


def _keys(tree: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in tree:
        name = f"{prefix}{key!s}"
        yield name
        value = None if OmegaConf.is_missing(tree, key) else tree[key]
        if isinstance(value, DictConfig):
            yield from _keys(value, f"{name}.")


def _check_choices(config: Config) -> None:
    m, loss = config.model, config.loss
    for key, value, choices in (
        ("model.preset", m.preset, ("strict", "paper")),
        ("model.context", m.context, (None, "all", "kept")),
        ("model.discard", m.discard, (None, "mask", "zero")),
        ("model.positions", m.positions, (None, "time", "time-slot")),
        ("model.predicate_pooling", m.predicate_pooling, ("active", "soft")),
        ("loss.reduction", loss.reduction, ("mean", "sum")),
        ("loss.cross_modal_kind", loss.cross_modal_kind, (None, "bernoulli", "softmax")),
        ("detection.preset", config.detection.preset, ("action-genome",)),
    ):
        if value not in choices:
            names = ", ".join(str(choice) for choice in choices if choice)
            raise UsageError(f"{key}: one of {names} expected, got {value!r}")
    for key, number, low in (
        ("frames.num", config.frames.num, 1),
        ("tokens.num_frames", config.tokens.num_frames, 1),
        ("tokens.max_pairs", config.tokens.max_pairs, 1),
        ("train.batch_size", config.train.batch_size, 1),
        ("train.epochs", config.train.epochs, 0),
        ("detection.short_side", config.detection.short_side, 32),
        ("detection.width", config.detection.width, 1),
        ("detection.batch_size", config.detection.batch_size, 1),
        ("model.dim", m.dim, 1),
    ):
        if number < low:
            raise UsageError(f"{key}: at least {low} expected, got {number}")
    if m.dim % m.heads:
        raise UsageError(f"model.dim: a multiple of model.heads={m.heads} expected, got {m.dim}")
    if not 0 <= config.train.validation_fraction < 1:
        raise UsageError(
            f"train.validation_fraction: in [0, 1) expected, got {config.train.validation_fraction}"
        )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
