"""Settings of a detector's training, with their defaults."""

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
    """Settings of the optimiser, the training data and the log."""

    epochs: int = ranged(12, 1)
    #: Images per step and process.
    batch_size: int = ranged(2, 1)
    optimizer: Optimizer = Optimizer.sgd
    lr: float = ranged(0.0025, 0, 10)
    momentum: float = ranged(0.9, 0, 1)
    weight_decay: float = ranged(1e-4, 0, 1)
    #: Number of steps over which the learning rate rises from a thousandth to `lr`.
    warmup_steps: int = ranged(1000, 0)
    schedule: Schedule = Schedule.step
    #: Fractions of all steps after which the `step` schedule divides the learning rate by ten.
    milestones: list[float] = field(default_factory=lambda: [0.67, 0.89], metadata=in_range(0, 1))
    #: Largest norm of the gradient; 0 disables clipping.
    clip_norm: float = ranged(10.0, 0, 10**9)
    amp: Precision = Precision.none
    #: Probability that an image is mirrored.
    flip: float = ranged(0.5, 0, 1)
    #: Short sides in pixels, of which each batch draws one; empty uses the detector's own.
    short_sides: list[int] = field(default_factory=list, metadata=in_range(32))
    #: A class is rare if it appears in less than this share of the images. Images of rare classes
    #: are drawn more often; 0 draws all images equally often.
    repeat_threshold: float = ranged(0.0, 0, 1)
    #: Number of frozen stages: 1 is the stem, 2 the stem and stage 1, ..., 5 all stages.
    freeze_at: int = ranged(0, 0, 5)
    #: Whether batch normalisation keeps its statistics; fine-tuning on small batches requires it.
    freeze_norm: bool = False
    #: Initialise the last two layers at random, so that the weights may be of other classes.
    new_heads: bool = False
    #: Number of processes that read images; 0 reads in the main process.
    workers: int = ranged(0, 0)
    #: Steps between two checkpoints.
    save_every: int = ranged(500, 1)
    #: Steps between two log entries.
    log_every: int = ranged(20, 1)
    #: Store the weights in half precision.
    half: bool = False
    seed: int = ranged(0, 0, 2**63 - 1)
    #: Also write TensorBoard files (needs the package tensorboard).
    tensorboard: bool = False


@dataclass
class DetectorTraining:
    """All settings of a detector's training; `detection.weights` are the initial weights."""

    vocabulary: str = "action_genome"
    #: `auto`, `cpu`, `cuda`, ...; with torchrun, each process uses its own GPU.
    device: str = "auto"
    detection: DetectionConfig = field(default_factory=DetectionConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    loss: LossSettings = field(default_factory=LossSettings)

    def check(self) -> None:
        """Check the settings of the detector and of the loss.

        Raises:
            UsageError: if settings contradict each other, or one of `loss` is out of range.
        """
        self.detection.check()
        try:
            check_loss(self.loss)
        except ValueError as error:
            raise UsageError(f"loss.{error}") from error
