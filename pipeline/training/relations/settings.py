"""Every setting of a relation predictor's training, with its default in sight."""

import math
from dataclasses import dataclass, field
from enum import Enum

from pipeline.errors import UsageError

MultiLabel = Enum("MultiLabel", {"margin": "margin", "bce": "bce"})
Schedule = Enum("Schedule", {"plateau": "plateau", "cosine": "cosine"})
#: Every epoch draws from a seed of its own that follows from this one, and fits 64 bits.
MAX_SEED = 2**32 - 1
Precision = Enum("Precision", {"none": "none", "bf16": "bf16", "fp16": "fp16"})


@dataclass
class NetworkConfig:
    """Sizes of the predictor; those of features follow from the cache. Published defaults."""

    part_width: int = 512
    union_width: int = 256
    class_width: int = 200
    position_width: int = 128
    object_width: int = 1024
    encoder_layers: int = 1
    decoder_layers: int = 3
    heads: int = 8
    feedforward: int = 2048
    dropout: float = 0.1


@dataclass
class TrainingConfig:
    """How it is trained. Defaults are the published ones."""

    epochs: int = 10
    #: Videos per step.
    batch_size: int = 1
    lr: float = 1e-5
    weight_decay: float = 0.01
    clip_norm: float = 5.0
    #: `plateau`: halved when R@20 on the validation videos has not risen for two epochs;
    #: `cosine`: a rise over the first `warmup` share of the steps, then half a cosine to zero.
    schedule: Schedule = Schedule.plateau
    warmup: float = 0.05
    #: Loss of spatial and contacting predicates: `margin` is the published one.
    multi_label: MultiLabel = MultiLabel.margin
    #: Weight of the object classifier's loss, learned on annotated boxes; SGCLS alone needs it.
    object_loss: float = 1.0
    #: Share of the training videos held out by the hash of their id. The published code tuned on
    #: the test videos instead.
    validation_fraction: float = 0.1
    amp: Precision = Precision.none
    #: GloVe text file whose vectors the class embeddings begin with; they must be as wide as
    #: `network.class_width`. None: random.
    word_vectors: str | None = None
    #: Processes that read the cache; 0 reads in the main one.
    workers: int = 0
    #: Store the weights in half precision.
    half: bool = False
    seed: int = 0
    #: Also write TensorBoard files (needs the package tensorboard).
    tensorboard: bool = False


@dataclass
class RelationTraining:
    """All of it."""

    vocabulary: str = "action_genome"
    device: str = "auto"
    network: NetworkConfig = field(default_factory=NetworkConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)


def check_settings(config: RelationTraining) -> None:
    """UsageError for the first number out of range."""
    t = config.training
    for key, number, low in (
        ("epochs", t.epochs, 1),
        ("batch_size", t.batch_size, 1),
        ("workers", t.workers, 0),
        ("seed", t.seed, 0),
    ):
        if number < low:
            raise UsageError(f"training.{key}: at least {low} expected, got {number}")
    for key, share, high in (
        ("lr", t.lr, 1.0),
        ("weight_decay", t.weight_decay, 1.0),
        ("warmup", t.warmup, 1.0),
        ("object_loss", t.object_loss, 1e6),
        ("validation_fraction", t.validation_fraction, 0.9),
    ):
        if not 0 <= share <= high:
            raise UsageError(f"training.{key}: a number from 0 to {high} expected, got {share}")
    if t.seed > MAX_SEED:
        raise UsageError(f"training.seed: at most {MAX_SEED} expected, got {t.seed}")
    if not 0 < t.clip_norm < math.inf:
        raise UsageError(f"training.clip_norm: a number above 0 expected, got {t.clip_norm}")
