"""Settings of all stages, with their defaults and ranges.

`pipeline.config.loading` fills the dataclasses, checks every value against its range, and calls
`check`, which tests constraints between settings.
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

Dataset = Enum("Dataset", {"charades": "charades", "cad120": "cad120"})
Features = Enum("Features", {"detector": "detector", "none": "none"})
Boxes = Enum("Boxes", {"detected": "detected", "ground-truth": "ground-truth"})
Relations = Enum(
    "Relations", {"predicted": "predicted", "ground-truth": "ground-truth", "none": "none"}
)
UnionKind = Enum("UnionKind", {"full": "full", "conv256": "conv256", "none": "none"})
Backend = Enum(
    "Backend", {"pyav": "pyav", "opencv": "opencv", "decord": "decord", "frames": "frames"}
)
DetectorBackend = Enum("DetectorBackend", {"ours": "ours", "detectron2": "detectron2"})
Branch = Enum("Branch", {"both": "both", "language": "language"})
Mode = Enum("Mode", {"exact": "exact", "folded": "folded", "fast": "fast"})
SingleFrame = Enum("SingleFrame", {"self": "self", "original": "original"})
Amp = Enum("Amp", {"auto": "auto", "bf16": "bf16", "fp16": "fp16", "none": "none"})


@dataclass
class DecodeConfig:
    """Settings of video decoding."""

    #: Decoder. `opencv` and `decord` support undamaged files only. `frames` reads folders of dumped
    #: frames.
    backend: Backend = Backend.pyav
    #: Frames per second of dumped frames (`backend=frames`) whose folder has no file fps.txt. If
    #: None, the number of frames is divided by the length of the video in the dataset.
    fps: float | None = ranged(None, 0.01, 1_000_000)
    #: Whether to accept truncated and damaged files. Their clips have the warning DECODE_DEGRADED.
    #: If False, these files fail. Requires `backend=pyav` or `backend=frames`.
    tolerant: bool = False
    #: Largest accepted frame size in pixels (width times height). A video with larger frames fails
    #: before any frame is converted.
    max_pixels: int = 3840 * 2160
    #: Largest accepted number of frames of a video.
    max_frames: int = 200_000
    #: Time limit in seconds (wall-clock time). A decode process must return each batch of frames
    #: within this limit. With `backend=decord`, the whole video must be decoded within it.
    timeout_s: float = ranged(120.0, 0, 1_000_000, above=True)
    #: Number of decode processes. Default: one per four cores, at least 1 and at most 8. If 0, the
    #: main process decodes, and a video that crashes FFmpeg ends the command.
    workers: int | None = ranged(None, 0)
    #: Memory in GB (10^9 bytes) that each decode process may allocate in addition to its memory at
    #: start-up; 0 for no limit.
    memory_gb: float = ranged(4.0, 0.1, 10_000, zero=True)

    def check(self) -> None:
        """Raise UsageError if the backend does not support a setting."""
        if self.fps is not None and self.backend is not Backend.frames:
            raise UsageError(
                "decode.fps: supported only by decode.backend=frames, because video files contain "
                "their frame rate; leave it out"
            )
        if self.tolerant and self.backend not in (Backend.pyav, Backend.frames):
            raise UsageError(
                "decode.tolerant=true: decode.backend=pyav or frames expected, got "
                f"{self.backend.value}, which does not detect corrupt frames"
            )


@dataclass
class FramesConfig:
    """Settings of frame sampling."""

    #: Number of uniformly spaced frames of a video with `boxes=detected`. Annotated frames are
    #: always added. In a dataset whose videos consist of spans, it is the number of uniformly
    #: spaced frames of each span, for all boxes.
    num: int = ranged(32, 1, 100_000)


@dataclass
class DetectionConfig:
    """Settings of the detector."""

    #: Path of a safetensors file, or `random` for untrained weights.
    weights: str | None = None
    #: `ours`, or `detectron2` for a Faster R-CNN of the package detectron2. For `detectron2`,
    #: `config` is the YAML file of the network, which also determines its sizes, and `weights` is
    #: its .pkl or .pth file.
    backend: DetectorBackend = DetectorBackend.ours
    config: str | None = None
    #: `exact` computes in float32 with the same sequence of operations as the reference
    #: implementations. `folded` (the default) folds the norms and uses the channels-last layout.
    #: The results of both modes agree to about 1e-6. `fast` is `folded` in bfloat16. `fast`
    #: is slower than `folded` on CPUs without bfloat16 units.
    mode: Mode | None = None
    #: Whether to compile the backbone with torch.compile. Compilation is worthwhile for many frames
    #: of one size. It is not available with `mode=exact`.
    compile: bool = False
    #: Key of `PRESETS` in detection/presets.py. The default of this setting and of the next five
    #: settings is the value in the card of the weights. Without a card, it is the value of the
    #: published `action-genome` network.
    preset: str | None = one_of(None, PRESETS)
    #: Depth of the ResNet.
    depth: int | None = one_of(None, STAGES)
    #: Channels of the stem; 64 in the published network.
    width: int | None = ranged(None, 1, MAX_WIDTH)
    #: Channels of the FPN levels; 256 in the published network. Only for FPN presets.
    fpn_channels: int | None = ranged(None, 1, MAX_WIDTH)
    #: Channels of the box features; 1024 in the published network. Only for FPN presets.
    head_width: int | None = ranged(None, 1, MAX_WIDTH)
    #: Factor of the anchor sizes; less than 1 for networks with smaller images.
    anchor_scale: float | None = ranged(None, 0.001, 1000)
    #: Pixels to which the short side of a frame is scaled. Default: the value in the card of the
    #: weights, or the value of the preset if there is no card.
    short_side: int | None = ranged(None, 32, MAX_SHORT_SIDE)
    #: Largest number of proposals per frame. The default of this setting and of the next three
    #: settings is the value of the preset.
    proposals: int | None = ranged(None, 1, 100_000)
    #: Detections with a score up to this value are dropped.
    score_threshold: float | None = ranged(None, 0, 1)
    #: IoU above which NMS drops the box with the lower score.
    nms_threshold: float | None = ranged(None, 0, 1)
    #: Largest number of boxes per frame. The boxes with the highest scores are kept.
    max_boxes: int | None = ranged(None, 1, 100_000)
    #: Seed of `weights=random`.
    seed: int = ranged(0, 0, 2**63 - 1)
    #: Frames per forward pass.
    batch_size: int = ranged(1, 1, 4096)

    def check(self) -> None:
        """Raise UsageError if the backend or the mode does not support a setting."""
        foreign = self.backend is DetectorBackend.detectron2
        if foreign != bool(self.config):
            raise UsageError(
                "detection.config: detectron2's YAML file expected if and only if "
                f"detection.backend=detectron2, got backend={self.backend.value} and "
                f"config={self.config}"
            )
        if self.compile and self.mode is Mode.exact:
            raise UsageError(
                "detection.compile: detection.mode=folded or fast expected, got exact; the results "
                "of exact must not depend on a compiler"
            )
        if foreign and self.compile:
            raise UsageError(
                "detection.compile: not supported by detection.backend=detectron2; leave it out"
            )
        own = ("preset", "depth", "width", "fpn_channels", "head_width", "anchor_scale")
        given = [name for name in own if getattr(self, name) is not None]
        if foreign and (given or self.mode not in (None, Mode.exact)):
            raise UsageError(
                f"detection.{given[0] if given else 'mode'}: not supported by detection.backend="
                "detectron2, whose YAML file describes the network; leave it out"
            )


@dataclass
class RelationPredictorConfig:
    """Settings of the relation predictor, which `relations=predicted` uses."""

    #: Path of a safetensors file with a card.
    weights: str | None = None
    #: Rule for videos in which only the first frame has pairs. With `self`, this frame is its own
    #: temporal window. With `original`, the heads return their biases, as in STTran. Default: the
    #: rule in the card of the weights.
    single_frame: SingleFrame | None = None


@dataclass
class LoopConfig:
    """Settings of a training loop, for all networks."""

    epochs: int = ranged(1, 0)
    #: Samples per step. With torchrun, the processes share them.
    batch_size: int = ranged(1, 1)
    #: Number of passes into which each process divides its samples of a step, to save memory.
    accumulate: int = ranged(1, 1)
    #: Largest norm of the gradient; a larger gradient is scaled down. 0 disables clipping.
    clip_norm: float = ranged(1.0, 0, 10**9)
    #: Decay of the exponential moving average of the weights per step, such as 0.98. The averaged
    #: weights are evaluated and stored. 0 stores the weights of the optimiser.
    ema: float = ranged(0.0, 0, 0.9999)
    #: Mixed precision: `bf16`, `fp16`, `none`, or `auto` for bfloat16 on GPUs that support it.
    amp: Amp = Amp.auto
    #: Number of processes that read samples. If 0, the main process reads them.
    workers: int = ranged(0, 0)
    #: Random seed. The range ensures that the seeds of the epochs, which are derived from it, fit
    #: into 64 bits.
    seed: int = ranged(0, 0, 2**32 - 1)
    #: Whether to write TensorBoard files as well. Requires the package tensorboard.
    tensorboard: bool = False


@dataclass
class TrainConfig(LoopConfig):
    """Settings for training LaIAR. A sample is a video."""

    epochs: int = ranged(40, 0)
    batch_size: int = ranged(32, 1)
    #: Peak learning rate of AdamW.
    lr: float = ranged(1e-4, 0, 1)
    weight_decay: float = ranged(1e-2, 0, 1)
    #: Fraction of the steps, at the beginning, in which the learning rate rises linearly. It then
    #: decays to zero along a cosine.
    warmup: float = ranged(0.05, 0, 1)
    #: Fraction of the steps, at the beginning, in which the selectors are neither used nor trained.
    #: Before the features are trained, those of selector=gumbel learn to discard all tokens and do
    #: not recover.
    selection_warmup: float = ranged(0.3, 0, 1)
    #: Gigabytes of clips that training keeps in memory, so that it reads them once instead of once
    #: per epoch. Only with `workers=0`, because worker processes end with the epoch.
    memory_gb: float = ranged(2.0, 0)
    #: Price of a token in nats, with model.selector=subset: the selector learns to keep a token if
    #: the prediction would otherwise diverge by more. The higher the price, the fewer tokens are
    #: kept, within model.tolerance.
    token_price: float = ranged(0.02, 0)
    #: Training on random subsets, in steps without selectors of model.selector=gumbel: each video
    #: keeps all tokens with probability 1/3, and otherwise each token with a probability between
    #: this share and 1.
    least_share: float = ranged(1.0, 0, 1)
    #: Number of excerpts of each training video per step, if loss.excerpts is not 0. An excerpt is
    #: a random subset of the tokens of consecutive frames. Its actions are those that it shows.
    num_excerpts: int = ranged(3, 1, 100)
    #: Probability that the frames of a training video are reversed. A reversed video shows the
    #: inverse of each action in `inverse_pairs`. Its labels of all other actions are unknown.
    reversed_share: float = ranged(0.0, 0, 1)
    #: Learning rate of the token selectors as a multiple of `lr`.
    selector_lr: float = ranged(0.1, 0, 100)
    #: Fraction of the training videos that form the validation split, selected by the hash of their
    #: ids. The network is not trained on these videos. They are used to compute the mAP after each
    #: epoch, to select the best epoch and to calibrate the names.
    validation_fraction: float = ranged(0.1, 0, 1)
    #: Smallest number of training tokens of a label of the label bank. Rarer labels are often
    #: errors of the relation predictor.
    min_label_tokens: int = ranged(5, 1)
    #: Number of CPU threads. Default: a number that depends on the width of the network.
    threads: int | None = ranged(None, 1, 1024)


@dataclass
class PredictConfig:
    """Settings of predictions."""

    #: Number of actions to explain. The actions with the highest scores are explained.
    top: int = ranged(5, 1)
    #: Smallest score of an action that is reported as present.
    threshold: float = ranged(0.5, 0, 1)
    #: A longer video is explained in overlapping windows of at most this length in seconds.
    #: Default: the length of the longest training video. 0 sets no limit.
    window_s: float | None = ranged(None, 0.1, zero=True)


@dataclass
class Config:
    """Settings of all stages."""

    #: Dataset whose annotation files are read.
    dataset: Dataset = Dataset.charades
    #: Name of the vocabulary, which is a file in configs/vocabularies/ without its suffix.
    vocabulary: str = "action_genome"
    #: Box source: `detected` (uniform and annotated frames) or `ground-truth` (annotated frames).
    boxes: Boxes = Boxes.detected
    #: Relation source: `predicted`, `ground-truth` (annotated) or `none`.
    relations: Relations = Relations.none
    #: Kinds of pairs, such as `[hand,state]`, of a vocabulary that has several. If empty, its first
    #: kind.
    pairs: list[str] = field(default_factory=list)
    #: Whether annotated pairs with an invisible box are used. Requires `features=none`.
    occluded: bool = False
    #: Source of the features: `detector`, or `none` for a cache without features, which is made of
    #: annotations alone. It serves `branch=language`. Requires `boxes=ground-truth`.
    features: Features = Features.detector
    #: Fold of a dataset with cross-validation, which determines the test subjects of `train` and
    #: `evaluate`. It has no effect on `extract`, so one cache serves all folds.
    fold: str | None = None
    #: JSON file that lists the training and test videos of each fold, for a dataset with one split,
    #: such as Charades (`tools.make_folds`). A relative path is also searched in the repository.
    folds: str | None = None
    #: Stored union features: `full` (all channels), `conv256` (256 channels of a frozen 1x1
    #: convolution) or `none`.
    union: UnionKind = UnionKind.full
    #: Ids of the action classes that a network is trained on, such as `[c000,c001]`. A video keeps
    #: only the labels of these classes. If empty, all classes of the cache. It has no effect on
    #: `extract`, so one cache serves several subsets.
    classes: list[str] = field(default_factory=list)
    #: Device, such as `auto`, `cpu`, `cuda` or `cuda:1`. `extract` and `predict` accept several
    #: devices, such as `cuda:0,cuda:1`.
    device: str = "auto"
    #: Branches of the network. `language` trains and evaluates the language branch alone, which
    #: reads relations instead of pixels. Such a run cannot predict new videos.
    branch: Branch = Branch.both
    #: YAML file with pairs of inverse classes for `evaluate` and for `train.reversed_share`, see
    #: `pipeline.evaluation.inverse_pairs`. The ids of the default are those of Charades. If None,
    #: no pairs.
    inverse_pairs: str | None = "configs/inverse_pairs/charades.yaml"
    #: Largest number of failed videos; a command with more failures stops with exit code 3. None
    #: sets no limit: a command with failures ends with exit code 1.
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
        """Raise UsageError if settings contradict each other."""
        self.decode.check()
        self.detection.check()
        if self.features is Features.none and self.boxes is not Boxes["ground-truth"]:
            raise UsageError("features=none: boxes=ground-truth expected, got boxes=detected")
        if self.occluded and self.features is not Features.none:
            raise UsageError(
                "occluded=true: features=none expected, because an invisible box has no features"
            )
        network = self.model.network
        if self.model.is_baseline and self.branch is Branch.language:
            raise UsageError(
                f"branch=language: model.network=laiar expected, got {network}, which has no "
                "language branch"
            )
        if self.model.shuffle_frames and self.train.reversed_share:
            raise UsageError(
                "model.shuffle_frames=true: train.reversed_share=0 expected, got "
                f"{self.train.reversed_share}; shuffled frames cannot be reversed"
            )
        given = {
            "loss.excerpts": self.loss.excerpts,
            "train.reversed_share": self.train.reversed_share,
        }
        for name, value in given.items():
            if value and not self.loss.multi_label:
                raise UsageError(
                    f"{name}=0 expected with loss.multi_label=false, got {value}; it is unknown "
                    "which action an excerpt or a reversed video shows"
                )
