"""Every setting of every stage, with its default in sight.

`loading` fills the dataclasses, checks every number against its range and calls `check`, which
compares settings with each other.
"""

from dataclasses import dataclass, field
from enum import Enum

from detection.build import MAX_WIDTH
from detection.presets import MAX_SHORT_SIDE, PRESETS
from detection.resnet import STAGES
from model.criterion import CriterionSettings
from model.settings import LaIARSettings
from pipeline.config.ranges import one_of, ranged
from pipeline.errors import UsageError

Dataset = Enum("Dataset", {"charades": "charades"})
Boxes = Enum("Boxes", {"detected": "detected", "ground-truth": "ground-truth"})
Relations = Enum(
    "Relations", {"predicted": "predicted", "ground-truth": "ground-truth", "none": "none"}
)
UnionKind = Enum("UnionKind", {"full": "full", "conv256": "conv256", "none": "none"})
Backend = Enum(
    "Backend", {"pyav": "pyav", "opencv": "opencv", "decord": "decord", "frames": "frames"}
)
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
    fps: float | None = ranged(None, 0.01, 1_000_000)
    #: Accept truncated and damaged files, marked DECODE_DEGRADED, instead of failing them.
    tolerant: bool = False
    #: Largest frame accepted, in pixels, checked before anything is converted.
    max_pixels: int = 3840 * 2160
    #: Most frames a video may have.
    max_frames: int = 200_000
    #: Wall-clock limit, seconds: without a frame of a video, and for decord on a whole one.
    timeout_s: float = ranged(120.0, 0, 1_000_000, above=True)
    #: Processes that decode beside the detector; None is one per four cores (1 to 8), 0 decodes in
    #: the main process, which a video that crashes FFmpeg takes with it.
    workers: int | None = ranged(None, 0)
    #: Memory that each of them may allocate, GB (10^9 bytes); 0 for no limit.
    memory_gb: float = ranged(4.0, 0.1, 10_000, zero=True)

    def check(self) -> None:
        """Raise UsageError for a setting that the backend does not have."""
        if self.fps is not None and self.backend is not Backend.frames:
            raise UsageError("decode.fps: decode.backend=frames expected with it, videos tell")
        if self.tolerant and self.backend not in (Backend.pyav, Backend.frames):
            raise UsageError(
                "decode.tolerant=true: decode.backend=pyav or frames expected, got "
                f"{self.backend.value}, which says nothing of damage"
            )


@dataclass
class FramesConfig:
    """Which frames of a video are taken."""

    #: Uniform frames with detected boxes; annotated frames are always added.
    num: int = ranged(32, 1, 100_000)


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
    preset: str | None = one_of(None, PRESETS)
    depth: int | None = one_of(None, STAGES)
    #: Channels of the stem; 64 is the published network.
    width: int | None = ranged(None, 1, MAX_WIDTH)
    #: Of an FPN alone: channels of its levels (256), features of a box (1024).
    fpn_channels: int | None = ranged(None, 1, MAX_WIDTH)
    head_width: int | None = ranged(None, 1, MAX_WIDTH)
    #: Multiplies the anchors' sizes, for networks that see smaller images.
    anchor_scale: float | None = ranged(None, 0.001, 1000)
    #: Frames are scaled until their short side has this many pixels; None as the card says, else
    #: as the preset. The same holds for the next four.
    short_side: int | None = ranged(None, 32, MAX_SHORT_SIDE)
    proposals: int | None = ranged(None, 1, 100_000)
    score_threshold: float | None = ranged(None, 0, 1)
    nms_threshold: float | None = ranged(None, 0, 1)
    #: Most boxes kept per frame, best scores first.
    max_boxes: int | None = ranged(None, 1, 100_000)
    seed: int = ranged(0, 0, 2**63 - 1)
    #: Frames per forward pass.
    batch_size: int = ranged(1, 1, 4096)

    def check(self) -> None:
        """Raise UsageError for a setting that the backend or the mode does not have."""
        foreign = self.backend is DetectorBackend.detectron2
        if foreign != bool(self.config):
            raise UsageError(
                "detection.config: detectron2's YAML file expected with detection.backend="
                f"detectron2, and only then, got backend={self.backend.value} and "
                f"config={self.config}"
            )
        if self.compile and self.mode is Mode.exact:
            raise UsageError(
                "detection.compile: detection.mode=folded or fast expected, got exact, whose "
                "numbers do not depend on a compiler"
            )
        if foreign and self.compile:
            raise UsageError(
                "detection.compile: not with detection.backend=detectron2; leave it out"
            )
        own = ("preset", "depth", "width", "fpn_channels", "head_width", "anchor_scale")
        given = [name for name in own if getattr(self, name) is not None]
        if foreign and (given or self.mode not in (None, Mode.exact)):
            raise UsageError(
                f"detection.{given[0] if given else 'mode'}: not with detection.backend="
                "detectron2, whose YAML file describes the network; leave it out"
            )


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

    epochs: int = ranged(40, 0)
    #: Videos per step.
    batch_size: int = ranged(32, 1)
    lr: float = ranged(1e-4, 0, 1)
    weight_decay: float = ranged(1e-2, 0, 1)
    #: Share of all steps in which the learning rate rises; a cosine to zero follows.
    warmup: float = ranged(0.05, 0, 1)
    #: Share of all steps in which every token is kept: selectors that choose before the features
    #: mean anything learn to drop all of them, and stay there.
    selection_warmup: float = ranged(0.3, 0, 1)
    #: Learning rate of the token selectors, relative to `lr`.
    selector_lr: float = ranged(0.1, 0, 1)
    #: Largest norm of the gradient.
    clip_norm: float = ranged(1.0, 0, above=True)
    #: Share of the training videos held out by the hash of their id: never trained on; they give
    #: the live mAP and the calibration of names.
    validation_fraction: float = ranged(0.1, 0, 1)
    #: `auto`: bfloat16 where there is a GPU that has it.
    amp: Amp = Amp.auto
    #: Processes that read the cache; 0 reads in the main one.
    workers: int = ranged(0, 0)
    #: Threads that compute on a CPU; None chooses by the network's width.
    threads: int | None = ranged(None, 1, 1024)
    #: Every epoch draws from a seed that follows from this one and fits 64 bits.
    seed: int = ranged(0, 0, 2**32 - 1)
    #: Also write TensorBoard files (needs the package tensorboard).
    tensorboard: bool = False


@dataclass
class PredictConfig:
    """What is said of a video."""

    #: Actions explained, best first.
    top: int = ranged(5, 1)
    #: A score from which an action is called present.
    threshold: float = ranged(0.5, 0, 1)


@dataclass
class Config:
    """All of it."""

    dataset: Dataset = Dataset.charades
    vocabulary: str = "action_genome"
    boxes: Boxes = Boxes.detected
    relations: Relations = Relations.none
    #: Union features stored: all channels, 256 by a frozen 1x1 convolution, or none.
    union: UnionKind = UnionKind.full
    #: `auto`, `cpu`, `cuda`, `cuda:1`, …; several for an extraction: `cuda:0,cuda:1`.
    device: str = "auto"
    #: Failed videos tolerated; None means no budget: any failure ends with exit code 1, never 3.
    max_failures: int | None = ranged(None, 0)
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    frames: FramesConfig = field(default_factory=FramesConfig)
    detection: DetectionConfig = field(default_factory=DetectionConfig)
    relation_predictor: RelationPredictorConfig = field(default_factory=RelationPredictorConfig)
    model: LaIARSettings = field(default_factory=LaIARSettings)
    loss: CriterionSettings = field(default_factory=CriterionSettings)
    train: TrainConfig = field(default_factory=TrainConfig)
    predict: PredictConfig = field(default_factory=PredictConfig)

    def check(self) -> None:
        """Raise UsageError for settings that contradict each other."""
        self.decode.check()
        self.detection.check()
