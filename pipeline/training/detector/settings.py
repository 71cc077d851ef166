"""Settings for training a detector, with their defaults."""

from dataclasses import dataclass, field
from enum import Enum

from detection.loss import LossSettings, check_loss
from pipeline.config.ranges import in_range, ranged
from pipeline.config.schema import Amp, Dataset, DetectionConfig, LoopConfig
from pipeline.errors import UsageError

Optimizer = Enum("Optimizer", {"sgd": "sgd", "adamw": "adamw"})
Schedule = Enum("Schedule", {"step": "step", "cosine": "cosine"})


@dataclass
class TrainingConfig(LoopConfig):
    """Settings of the loop, the optimiser and the training data. A sample is an image."""

    epochs: int = ranged(12, 1)
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
    clip_norm: float = ranged(10.0, 0, 10**9)
    amp: Amp = Amp.none
    #: Only each `frame_stride`-th annotated frame of a video is used, from its first one on, in
    #: training and in evaluation. Consecutive frames are nearly equal. Images that are not frames
    #: of a video are all used.
    frame_stride: int = ranged(1, 1)
    #: Probability that an image is mirrored.
    flip: float = ranged(0.5, 0, 1)
    #: Short sides in pixels. One of them is selected at random for each batch. If empty, the short
    #: side of the detector is used.
    short_sides: list[int] = field(default_factory=list, metadata=in_range(32))
    #: A class is rare if it occurs in a smaller fraction of the images than this value. Images of
    #: rare classes are sampled more often. With 0, all images are sampled equally often.
    repeat_threshold: float = ranged(0.0, 0, 1)
    #: Number of frozen stages. 1 freezes the stem, 2 the stem and stage 1, and 5 all stages.
    freeze_at: int = ranged(0, 0, 5)
    #: Whether batch normalisation keeps its statistics. Fine-tuning on small batches requires this.
    freeze_norm: bool = False
    #: Whether to initialise the last two layers at random. The initial weights may then belong to a
    #: network with other classes.
    new_heads: bool = False
    #: Number of steps between two checkpoints.
    save_every: int = ranged(500, 1)
    #: Number of steps between two log entries.
    log_every: int = ranged(20, 1)
    #: Whether to store the weights in half precision.
    half: bool = False


@dataclass
class DetectorTraining:
    """All settings for training a detector.

    `detection.weights` is the path of the initial weights.
    """

    #: Dataset of the annotations. With `charades`, the files are COCO files, or the pickles of
    #: Action Genome.
    dataset: Dataset = Dataset.charades
    #: Name of the fold, which determines the test subjects, for a dataset with folds.
    fold: str | None = None
    vocabulary: str = "action_genome"
    #: Device, such as `auto`, `cpu` or `cuda`. With torchrun, each process uses its own GPU.
    device: str = "auto"
    detection: DetectionConfig = field(default_factory=DetectionConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    loss: LossSettings = field(default_factory=LossSettings)

    def check(self) -> None:
        """Check the settings of the detector and of the loss.

        Raises:
            UsageError: if settings contradict each other, or a setting of `loss` is out of range.
        """
        self.detection.check()
        try:
            check_loss(self.loss)
        except ValueError as error:
            raise UsageError(f"loss.{error}") from error
