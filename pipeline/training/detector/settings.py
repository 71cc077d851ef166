"""Every setting of a detector's training, with its default in sight."""

from dataclasses import dataclass, field
from enum import Enum

from detection.loss import LossSettings, check_loss
from pipeline.config.ranges import in_range, ranged
from pipeline.config.schema import DetectionConfig
from pipeline.errors import UsageError
from pipeline.training.optimizer import Precision

Optimizer = Enum("Optimizer", {"sgd": "sgd", "adamw": "adamw"})
Schedule = Enum("Schedule", {"step": "step", "cosine": "cosine"})


@dataclass
class TrainingConfig:
    """How a detector is trained."""

    epochs: int = ranged(12, 1)
    #: Images per step and process.
    batch_size: int = ranged(2, 1)
    optimizer: Optimizer = Optimizer.sgd
    lr: float = ranged(0.0025, 0, 10)
    momentum: float = ranged(0.9, 0, 1)
    weight_decay: float = ranged(1e-4, 0, 1)
    #: Steps in which the learning rate rises from a thousandth.
    warmup_steps: int = ranged(1000, 0)
    schedule: Schedule = Schedule.step
    #: Shares of all steps after which `step` divides the learning rate by ten.
    milestones: list[float] = field(default_factory=lambda: [0.67, 0.89], metadata=in_range(0, 1))
    #: Largest norm of the gradient; 0 does not clip.
    clip_norm: float = ranged(10.0, 0, 10**9)
    amp: Precision = Precision.none
    #: Share of images that are mirrored.
    flip: float = ranged(0.5, 0, 1)
    #: Short sides to draw from, one per batch; empty: the detector's own.
    short_sides: list[int] = field(default_factory=list, metadata=in_range(32))
    #: Images of classes that fewer than this share of images show are drawn more often; 0: never.
    repeat_threshold: float = ranged(0.0, 0, 1)
    #: Stages that are not trained: 1 is the stem, 2 the stem and stage 1, ... 5 all.
    freeze_at: int = ranged(0, 0, 5)
    #: Batch normalisation keeps its statistics, as it must in small batches of a fine-tuning.
    freeze_norm: bool = False
    #: Weights may be of other classes: the two last layers begin anew.
    new_heads: bool = False
    #: Processes that read images; 0 reads in the main one.
    workers: int = ranged(0, 0)
    #: Steps between two states from which an interrupted training goes on.
    save_every: int = ranged(500, 1)
    #: Steps between two lines of the log.
    log_every: int = ranged(20, 1)
    #: Store the weights in half precision.
    half: bool = False
    seed: int = ranged(0, 0, 2**63 - 1)
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

    def check(self) -> None:
        """Raise UsageError for settings that contradict each other, or for a bad one of `loss`."""
        self.detection.check()
        try:
            check_loss(self.loss)
        except ValueError as error:
            raise UsageError(f"loss.{error}") from error
