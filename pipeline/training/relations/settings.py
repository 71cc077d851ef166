"""Every setting of a relation predictor's training, with its default in sight."""

from dataclasses import dataclass, field
from enum import Enum

from pipeline.config.ranges import ranged
from pipeline.training.optimizer import Precision

MultiLabel = Enum("MultiLabel", {"margin": "margin", "bce": "bce"})
Schedule = Enum("Schedule", {"plateau": "plateau", "cosine": "cosine"})


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

    epochs: int = ranged(10, 1)
    #: Videos per step.
    batch_size: int = ranged(1, 1)
    lr: float = ranged(1e-5, 0, 1)
    weight_decay: float = ranged(0.01, 0, 1)
    clip_norm: float = ranged(5.0, 0, above=True)
    #: `plateau`: halved when R@20 on the validation videos has not risen for two epochs;
    #: `cosine`: a rise over the first `warmup` share of the steps, then half a cosine to zero.
    schedule: Schedule = Schedule.plateau
    warmup: float = ranged(0.05, 0, 1)
    #: Loss of spatial and contacting predicates: `margin` is the published one.
    multi_label: MultiLabel = MultiLabel.margin
    #: Weight of the object classifier's loss, learned on annotated boxes; SGCLS alone needs it.
    object_loss: float = ranged(1.0, 0, 1_000_000)
    #: Share of the training videos held out by the hash of their id. The published code tuned on
    #: the test videos instead.
    validation_fraction: float = ranged(0.1, 0, 0.9)
    amp: Precision = Precision.none
    #: GloVe text file whose vectors the class embeddings begin with; they must be as wide as
    #: `network.class_width`. None: random.
    word_vectors: str | None = None
    #: Processes that read the cache; 0 reads in the main one.
    workers: int = ranged(0, 0)
    #: Store the weights in half precision.
    half: bool = False
    #: Every epoch draws from a seed that follows from this one and fits 64 bits.
    seed: int = ranged(0, 0, 2**32 - 1)
    #: Also write TensorBoard files (needs the package tensorboard).
    tensorboard: bool = False


@dataclass
class RelationTraining:
    """All of it."""

    vocabulary: str = "action_genome"
    device: str = "auto"
    network: NetworkConfig = field(default_factory=NetworkConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
