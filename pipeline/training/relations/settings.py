"""Settings for training a relation predictor, with their defaults."""

from dataclasses import dataclass, field
from enum import Enum

from pipeline.config.ranges import ranged
from pipeline.config.schema import Amp, LoopConfig

MultiLabel = Enum("MultiLabel", {"margin": "margin", "bce": "bce"})
Schedule = Enum("Schedule", {"plateau": "plateau", "cosine": "cosine"})


@dataclass
class NetworkConfig:
    """Sizes of the predictor. The defaults are the published sizes.

    The widths of the features are determined by the cache.
    """

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
class TrainingConfig(LoopConfig):
    """Settings of the loop, the loss and the training data, with published defaults.

    A sample is a video.
    """

    epochs: int = ranged(10, 1)
    lr: float = ranged(1e-5, 0, 1)
    weight_decay: float = ranged(0.01, 0, 1)
    clip_norm: float = ranged(5.0, 0, 10**9)
    #: `plateau` halves the learning rate if R@20 on the validation videos has not increased for two
    #: epochs. For other groups of predicates than those of Action Genome, R@20 is replaced by the
    #: mean accuracy of the groups. `cosine` increases the learning rate over the first `warmup`
    #: fraction of the steps, and then decreases it to zero along half a cosine.
    schedule: Schedule = Schedule.plateau
    warmup: float = ranged(0.05, 0, 1)
    #: Loss of groups that are not exclusive. `margin` is the published loss.
    multi_label: MultiLabel = MultiLabel.margin
    #: Weight of the loss of the object classifier on annotated boxes. Only SGCLS uses this
    #: classifier.
    object_loss: float = ranged(1.0, 0, 1_000_000)
    #: Fraction of the training videos that are held out for validation, selected by the hash of
    #: their ids. The published code validates on the test videos instead.
    validation_fraction: float = ranged(0.1, 0, 0.9)
    amp: Amp = Amp.none
    #: Text file of GloVe, word2vec or fastText with vectors of `network.class_width` numbers, which
    #: initialise the class embeddings. If None, they are initialised at random.
    word_vectors: str | None = None
    #: Whether to store the weights in half precision.
    half: bool = False


@dataclass
class RelationTraining:
    """All settings for training a relation predictor."""

    vocabulary: str = "action_genome"
    #: Fold of a dataset with folds, such as CAD-120. Its test subjects are not used for training.
    fold: str | None = None
    device: str = "auto"
    network: NetworkConfig = field(default_factory=NetworkConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
