"""Every setting of a detector's training, with its default in sight."""

from dataclasses import dataclass, field
from enum import Enum

from detection.loss import LossSettings, check_loss
from pipeline.config.schema import DetectionConfig, check_detection
from pipeline.errors import UsageError

Optimizer = Enum("Optimizer", {"sgd": "sgd", "adamw": "adamw"})
Schedule = Enum("Schedule", {"step": "step", "cosine": "cosine"})
Precision = Enum("Precision", {"none": "none", "bf16": "bf16", "fp16": "fp16"})


@dataclass
class TrainingConfig:
    """How a detector is trained."""

    epochs: int = 12
    #: Images per step and process.
    batch_size: int = 2
    optimizer: Optimizer = Optimizer.sgd
    lr: float = 0.0025
    momentum: float = 0.9
    weight_decay: float = 1e-4
    #: Steps in which the learning rate rises from a thousandth.
    warmup_steps: int = 1000
    schedule: Schedule = Schedule.step
    #: Shares of all steps after which `step` divides the learning rate by ten.
    milestones: list[float] = field(default_factory=lambda: [0.67, 0.89])
    #: Largest norm of the gradient; 0 does not clip.
    clip_norm: float = 10.0
    amp: Precision = Precision.none
    #: Share of images that are mirrored.
    flip: float = 0.5
    #: Short sides to draw from, one per batch; empty: the detector's own.
    short_sides: list[int] = field(default_factory=list)
    #: Images of classes that fewer than this share of images show are drawn more often; 0: never.
    repeat_threshold: float = 0.0
    #: Stages that are not trained: 1 is the stem, 2 the stem and stage 1, ... 5 all.
    freeze_at: int = 0
    #: Batch normalisation keeps its statistics, as it must in small batches of a fine-tuning.
    freeze_norm: bool = False
    #: Weights may be of other classes: the two last layers begin anew.
    new_heads: bool = False
    #: Processes that read images; 0 reads in the main one.
    workers: int = 0
    #: Steps between two states from which an interrupted training goes on.
    save_every: int = 500
    #: Steps between two lines of the log.
    log_every: int = 20
    #: Store the weights in half precision.
    half: bool = False
    seed: int = 0
    #: Also write TensorBoard files (needs the package tensorboard).
    tensorboard: bool = False


@dataclass
class DetectorTraining:
    """All of it. `detection.weights` is what a fine-tuning begins with."""

    vocabulary: str = "action_genome"
    #: `auto`, `cpu`, `cuda`, ...; under torchrun every process takes its own GPU.
    device: str = "auto"
    detection: DetectionConfig = field(default_factory=DetectionConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    loss: LossSettings = field(default_factory=LossSettings)


def check_settings(config: DetectorTraining) -> None:
    """UsageError for the first number out of range."""
    check_detection(config.detection)
    t = config.training
    for key, number, low in (
        ("epochs", t.epochs, 1),
        ("batch_size", t.batch_size, 1),
        ("warmup_steps", t.warmup_steps, 0),
        ("workers", t.workers, 0),
        ("save_every", t.save_every, 1),
        ("log_every", t.log_every, 1),
        ("short_sides", min(t.short_sides, default=32), 32),
    ):
        if number < low:
            raise UsageError(f"training.{key}: at least {low} expected, got {number}")
    for key, share, high in (
        ("lr", t.lr, 10.0),
        ("momentum", t.momentum, 1.0),
        ("weight_decay", t.weight_decay, 1.0),
        ("flip", t.flip, 1.0),
        ("repeat_threshold", t.repeat_threshold, 1.0),
        ("clip_norm", t.clip_norm, 1e9),
        ("freeze_at", t.freeze_at, 5),
        *(("milestones", share, 1.0) for share in t.milestones),
        ("seed", t.seed, 2**63 - 1),
    ):
        if not 0 <= share <= high:
            raise UsageError(f"training.{key}: a number from 0 to {high} expected, got {share}")
    try:
        check_loss(config.loss)
    except ValueError as error:
        raise UsageError(f"loss.{error}") from error
