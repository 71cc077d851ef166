"""Settings of a relation predictor's training, with their defaults."""

from dataclasses import dataclass, field
from enum import Enum

from pipeline.config.ranges import ranged
from pipeline.training.optimizer import Precision

MultiLabel = Enum("MultiLabel", {"margin": "margin", "bce": "bce"})
Schedule = Enum("Schedule", {"plateau": "plateau", "cosine": "cosine"})


@dataclass
class NetworkConfig:
    """Sizes of the predictor, with published defaults; feature sizes follow from the cache."""

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
    """Settings of the optimiser, the loss and the training data, with published defaults."""

    epochs: int = ranged(10, 1)
    #: Videos per step.
    batch_size: int = ranged(1, 1)
    lr: float = ranged(1e-5, 0, 1)
    weight_decay: float = ranged(0.01, 0, 1)
    clip_norm: float = ranged(5.0, 0, above=True)
    #: `plateau` halves the learning rate when R@20 on the validation videos has not risen for two
    #: epochs. `cosine` raises it over the first `warmup` share of the steps, then lowers it along
    #: half a cosine to zero.
    schedule: Schedule = Schedule.plateau
    warmup: float = ranged(0.05, 0, 1)
    #: Loss of spatial and contacting predicates; `margin` is the published loss.
    multi_label: MultiLabel = MultiLabel.margin
    #: Weight of the object classifier's loss on annotated boxes; only SGCLS uses the classifier.
    object_loss: float = ranged(1.0, 0, 1_000_000)
    #: Share of the training videos held out for validation, by the hash of their id. The published
    #: code validates on the test videos instead.
    validation_fraction: float = ranged(0.1, 0, 0.9)
    amp: Precision = Precision.none
    #: GloVe text file that initialises the class embeddings, with vectors of
    #: `network.class_width` numbers. None initialises them at random.
    word_vectors: str | None = None
    #: Number of processes that read the cache; 0 reads in the main process.
    workers: int = ranged(0, 0)
    #: Store the weights in half precision.
    half: bool = False
    #: Seed of the training. Its limit keeps the derived seed of each epoch within 64 bits.
    seed: int = ranged(0, 0, 2**32 - 1)
    #: Also write TensorBoard files (needs the package tensorboard).
    tensorboard: bool = False


@dataclass
class RelationTraining:
    """All settings of a relation predictor's training."""

    vocabulary: str = "action_genome"
    device: str = "auto"
    network: NetworkConfig = field(default_factory=NetworkConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
