"""Every setting of every stage, with its default in sight.

Values come from the dataclasses below, then a YAML file, then `key=value` words of the command
line. An unknown key is an error that names the nearest right one.
"""

import difflib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from detection.build import MAX_WIDTH
from detection.presets import MAX_SHORT_SIDE, PRESETS
from detection.resnet import STAGES
from model.criterion import CriterionSettings
from model.settings import LaIARSettings
from pipeline.errors import UsageError

Boxes = Enum("Boxes", {"detected": "detected", "ground-truth": "ground-truth"})
Relations = Enum(
    "Relations", {"predicted": "predicted", "ground-truth": "ground-truth", "none": "none"}
)
UnionKind = Enum("UnionKind", {"full": "full", "conv256": "conv256", "none": "none"})
Backend = Enum(
    "Backend", {"pyav": "pyav", "opencv": "opencv", "decord": "decord", "frames": "frames"}
)
_MOST_SECONDS = 1e6
Settings = TypeVar("Settings")
DetectorBackend = Enum("DetectorBackend", {"ours": "ours", "detectron2": "detectron2"})
Mode = Enum("Mode", {"exact": "exact", "folded": "folded", "fast": "fast"})
SingleFrame = Enum("SingleFrame", {"self": "self", "original": "original"})
Amp = Enum("Amp", {"auto": "auto", "bf16": "bf16", "none": "none"})


@dataclass
class DecodeConfig:
    """How videos are read."""

    backend: Backend = Backend.pyav
    #: Frames per second of dumped frames (`backend=frames`) without a file fps.txt of their own;
    #: None takes the dataset's length of the video.
    fps: float | None = None
    #: Accept truncated and damaged files, marked DECODE_DEGRADED, instead of failing them.
    tolerant: bool = False
    #: Largest frame accepted, in pixels, checked before anything is converted.
    max_pixels: int = 3840 * 2160
    #: Most frames a video may have.
    max_frames: int = 200_000
    #: Wall-clock limit, seconds: without a frame of a video, and for decord on a whole one.
    timeout_s: float = 120.0
    #: Processes that decode beside the detector; None is one per four cores (1 to 8), 0 decodes in
    #: the main process, which a video that crashes FFmpeg takes with it.
    workers: int | None = None
    #: Memory that each of them may allocate, GB (10^9 bytes); 0 for no limit.
    memory_gb: float = 4.0


@dataclass
class FramesConfig:
    """Which frames of a video are taken."""

    #: Uniform frames with detected boxes; annotated frames are always added.
    num: int = 32


@dataclass
class DetectionConfig:
    """The detector. `weights` is a safetensors file, or `random` (seeded by `seed`)."""

    weights: str | None = None
    #: `detectron2` runs any Faster R-CNN of detectron2, described by `config` (its YAML file);
    #: `weights` is then detectron2's own .pkl or .pth, and the network's sizes are its own.
    backend: DetectorBackend = DetectorBackend.ours
    config: str | None = None
    #: `exact` is float32, operation by operation as the originals; `folded`, what None is, the same
    #: with norms folded and channels last, equal to about 1e-6; `fast` is folded in bfloat16, for
    #: devices that compute in it (a CPU without is slower).
    mode: Mode | None = None
    #: Run the trunk through torch.compile: pays for many frames of one size, not with `exact`.
    compile: bool = False
    #: The network: None is what the weights' card says, without one the published network of
    #: `action-genome`. Keys: detection/presets.py.
    preset: str | None = None
    depth: int | None = None
    #: Channels of the stem; 64 is the published network.
    width: int | None = None
    #: Of an FPN alone: channels of its levels (256), features of a box (1024).
    fpn_channels: int | None = None
    head_width: int | None = None
    #: Multiplies the anchors' sizes, for networks that see smaller images.
    anchor_scale: float | None = None
    #: Frames are scaled until their short side has this many pixels; None as the card says, else
    #: as the preset. The same holds for the next four.
    short_side: int | None = None
    proposals: int | None = None
    score_threshold: float | None = None
    nms_threshold: float | None = None
    #: Most boxes kept per frame, best scores first.
    max_boxes: int | None = None
    seed: int = 0
    #: Frames per forward pass.
    batch_size: int = 1


@dataclass
class RelationPredictorConfig:
    """The predictor of relations=predicted. `weights` is a safetensors file with a card."""

    weights: str | None = None
    #: A video of one frame: `self` is its own window, `original` gives the heads' bias as STTran
    #: does; None as the weights' card says.
    single_frame: SingleFrame | None = None


@dataclass
class TrainConfig:
    """How the network is trained."""

    epochs: int = 40
    #: Videos per step.
    batch_size: int = 32
    lr: float = 1e-4
    weight_decay: float = 1e-2
    #: Share of all steps in which the learning rate rises; a cosine to zero follows.
    warmup: float = 0.05
    #: Share of all steps in which every token is kept: selectors that choose before the features
    #: mean anything learn to drop all of them, and stay there.
    selection_warmup: float = 0.3
    #: Learning rate of the token selectors, relative to `lr`.
    selector_lr: float = 0.1
    #: Largest norm of the gradient.
    clip_norm: float = 1.0
    #: Share of the training videos held out by the hash of their id: never trained on; they give
    #: the live mAP and the calibration of names.
    validation_fraction: float = 0.1
    #: `auto`: bfloat16 where there is a GPU that has it.
    amp: Amp = Amp.auto
    #: Processes that read the cache; 0 reads in the main one.
    workers: int = 0
    seed: int = 0
    #: Also write TensorBoard files (needs the package tensorboard).
    tensorboard: bool = False


@dataclass
class PredictConfig:
    """What is said of a video."""

    #: Actions explained, best first.
    top: int = 5
    #: A score from which an action is called present.
    threshold: float = 0.5


@dataclass
class Config:
    """All of it."""

    dataset: str = "charades"
    vocabulary: str = "action_genome"
    boxes: Boxes = Boxes.detected
    relations: Relations = Relations.none
    #: Union features stored: all channels, 256 by a frozen 1x1 convolution, or none.
    union: UnionKind = UnionKind.full
    #: `auto`, `cpu`, `cuda`, `cuda:1`, …; several for an extraction: `cuda:0,cuda:1`.
    device: str = "auto"
    #: Failed videos tolerated; None means no budget: any failure ends with exit code 1, never 3.
    max_failures: int | None = None
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    frames: FramesConfig = field(default_factory=FramesConfig)
    detection: DetectionConfig = field(default_factory=DetectionConfig)
    relation_predictor: RelationPredictorConfig = field(default_factory=RelationPredictorConfig)
    model: LaIARSettings = field(default_factory=LaIARSettings)
    loss: CriterionSettings = field(default_factory=CriterionSettings)
    train: TrainConfig = field(default_factory=TrainConfig)
    predict: PredictConfig = field(default_factory=PredictConfig)


def load_config(path: Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """The configuration of the stages; see `load_settings`."""
    config = load_settings(Config, path, overrides)
    _check_choices(config)
    return config


def load_settings(
    schema: type[Settings], path: Path | None = None, overrides: Sequence[str] = ()
) -> Settings:
    """Defaults, then a YAML file, then `key=value` words.

    Args:
        schema: dataclass with a default for every field.
        path: YAML file, or None for the defaults alone.
        overrides: words such as `train.epochs=3`.

    Returns:
        An instance of `schema`.

    Raises:
        UsageError: for an unknown key (names the nearest one), a value of the wrong type, a word
            that is not `key=value`, or a file that cannot be read.
    """
    tree = OmegaConf.structured(schema)
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
    try:
        config = OmegaConf.to_object(tree)
    except (ValueError, OmegaConfBaseException) as error:
        raise UsageError(f"settings: {_first_line(error)}") from error
    assert isinstance(config, schema)
    return config


def config_as_dict(config: Any) -> dict[str, Any]:
    """Plain nested dict (enums by name), ready for JSON."""
    tree = OmegaConf.to_container(OmegaConf.structured(config), enum_to_str=True)
    assert isinstance(tree, dict)
    return {str(key): value for key, value in tree.items()}


def _merge(tree: DictConfig, patch: DictConfig, origin: str) -> DictConfig:
    """The tree with what a file or a word sets.

    Raises:
        UsageError: for an unknown key, a value of another type, or a reference (`${key}`) to
            nothing.
    """
    try:
        _check_keys(tree, patch, origin)
        merged = OmegaConf.merge(tree, patch)
        OmegaConf.to_container(merged, resolve=True)
    except OmegaConfBaseException as error:
        where = error.full_key or ", ".join(patch)
        raise UsageError(f"{origin}: {where}: {_first_line(error)}") from error
    assert isinstance(merged, DictConfig)
    return merged


def _check_keys(tree: DictConfig, patch: DictConfig, origin: str) -> None:
    known = set(_keys(tree))
    for key in _keys(patch):
        if key not in known:
            near = difflib.get_close_matches(key, known, 1, 0.4) or difflib.get_close_matches(
                key.rsplit(".", 1)[-1], known, 1, 0.4
            )
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"{origin}: unknown setting {key!r}{hint}")


def _keys(tree: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in tree:
        name = f"{prefix}{key!s}"
        yield name
        value = None if OmegaConf.is_missing(tree, key) else tree[key]
        if isinstance(value, DictConfig):
            yield from _keys(value, f"{name}.")


def _check_choices(config: Config) -> None:
    check_detection(config.detection)
    for key, number, low in (
        ("frames.num", config.frames.num, 1),
        ("max_failures", config.max_failures or 0, 0),
        ("decode.workers", config.decode.workers or 0, 0),
        ("train.epochs", config.train.epochs, 0),
        ("train.batch_size", config.train.batch_size, 1),
        ("train.workers", config.train.workers, 0),
        ("predict.top", config.predict.top, 1),
    ):
        if number < low:
            raise UsageError(f"{key}: at least {low} expected, got {number}")
    for key, share in (
        ("train.lr", config.train.lr),
        ("train.weight_decay", config.train.weight_decay),
        ("train.warmup", config.train.warmup),
        ("train.selection_warmup", config.train.selection_warmup),
        ("train.selector_lr", config.train.selector_lr),
        ("train.validation_fraction", config.train.validation_fraction),
        ("predict.threshold", config.predict.threshold),
    ):
        if not 0 <= share <= 1:
            raise UsageError(f"{key}: a number from 0 to 1 expected, got {share}")
    if config.decode.fps is not None and not 0.01 <= config.decode.fps <= 1e6:
        raise UsageError(f"decode.fps: 0.01 to 1e6 expected, got {config.decode.fps}")
    if config.decode.fps is not None and config.decode.backend is not Backend.frames:
        raise UsageError("decode.fps: decode.backend=frames expected with it, videos tell")
    if config.decode.tolerant and config.decode.backend not in (Backend.pyav, Backend.frames):
        raise UsageError(
            "decode.tolerant=true: decode.backend=pyav or frames expected, got "
            f"{config.decode.backend.value}, which says nothing of damage"
        )
    if not 0 < config.decode.timeout_s <= _MOST_SECONDS:
        raise UsageError(
            f"decode.timeout_s: above 0, at most {_MOST_SECONDS:g} expected, got "
            f"{config.decode.timeout_s}"
        )
    if config.decode.memory_gb != 0 and not 0.1 <= config.decode.memory_gb <= 1e4:
        raise UsageError(
            "decode.memory_gb: 0 (no limit) or 0.1 to 10000 expected, got "
            f"{config.decode.memory_gb}"
        )
    if not 0 < config.train.clip_norm < math.inf:
        raise UsageError(
            f"train.clip_norm: a number above 0 expected, got {config.train.clip_norm}"
        )


def check_detection(config: DetectionConfig) -> None:
    """UsageError for a preset or depth that is not there, or a number out of range."""
    foreign = config.backend is DetectorBackend.detectron2
    if foreign != bool(config.config):
        raise UsageError(
            "detection.config: detectron2's YAML file expected with detection.backend=detectron2, "
            f"and only then, got backend={config.backend.value} and config={config.config}"
        )
    if config.compile and config.mode is Mode.exact:
        raise UsageError(
            "detection.compile: detection.mode=folded or fast expected, got exact, whose numbers "
            "do not depend on a compiler"
        )
    if foreign and config.compile:
        raise UsageError("detection.compile: not with detection.backend=detectron2; leave it out")
    own = ("preset", "depth", "width", "fpn_channels", "head_width", "anchor_scale")
    given = [name for name in own if getattr(config, name) is not None]
    if foreign and (given or config.mode not in (None, Mode.exact)):
        raise UsageError(
            f"detection.{given[0] if given else 'mode'}: not with detection.backend=detectron2, "
            "whose YAML file describes the network; leave it out"
        )
    if config.preset is not None and config.preset not in PRESETS:
        raise UsageError(
            f"detection.preset: one of {', '.join(PRESETS)} expected, got {config.preset!r}"
        )
    if config.depth is not None and config.depth not in STAGES:
        raise UsageError(
            f"detection.depth: one of {', '.join(map(str, STAGES))} expected, got {config.depth}"
        )
    for key, low, high in (
        ("short_side", 32, MAX_SHORT_SIDE),
        ("width", 1, MAX_WIDTH),
        ("fpn_channels", 1, MAX_WIDTH),
        ("head_width", 1, MAX_WIDTH),
        ("batch_size", 1, 4096),
        ("proposals", 1, 100_000),
        ("max_boxes", 1, 100_000),
        ("anchor_scale", 0.001, 1000),
        ("score_threshold", 0, 1),
        ("nms_threshold", 0, 1),
        ("seed", 0, 2**63 - 1),
    ):
        number = getattr(config, key)
        if number is not None and not low <= number <= high:
            raise UsageError(f"detection.{key}: {low} to {high} expected, got {number}")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
