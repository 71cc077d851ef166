"""Relation predictor STTran, which predicts the predicates of pairs of boxes.

Cong et al., "Spatial-Temporal Transformer for Dynamic Scene Graph Generation", ICCV 2021. The
modules have the same names as in the published checkpoints, which load without renaming.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from relations.object_classifier import ObjectClassifier
from relations.pair_batch import PairBatch
from relations.settings import PredictorSettings
from relations.spatio_temporal import SpatioTemporalTransformer


@dataclass(frozen=True)
class RelationLogits:
    """Output of the relation predictor for P pairs.

    Attributes:
        attention: (P, A) logits of the attention predicates, which are mutually exclusive.
        spatial: (P, S) logits of the spatial predicates, which are not mutually exclusive.
        contacting: (P, C) logits of the contacting predicates, which are not mutually exclusive.
        features: (P, D) input of the transformer.
        spatial_features: (P, D) output of the spatial encoder.
        temporal_features: (P, D) output of the temporal decoder.
    """

    attention: Tensor
    spatial: Tensor
    contacting: Tensor
    features: Tensor
    spatial_features: Tensor
    temporal_features: Tensor

    def probabilities(self) -> Float[Tensor, "P R"]:
        """Return predicate probabilities in the order attention, spatial, contacting.

        The softmax is applied to the attention logits, and the sigmoid to all other logits.
        """
        attention = self.attention.float().softmax(1)
        return torch.cat(
            [attention, self.spatial.float().sigmoid(), self.contacting.float().sigmoid()], 1
        )


class STTran(nn.Module):
    """Relation predictor STTran.

    Row 0 of the class embeddings belongs to background and is not used.

    Args:
        settings: sizes of the network. If None, the published sizes are used.
    """

    def __init__(self, settings: PredictorSettings | None = None) -> None:
        super().__init__()
        s = self.settings = settings or PredictorSettings()
        self.object_classifier = ObjectClassifier(s)
        self.union_func1 = nn.Conv2d(s.union_channels, s.union_width, 1)
        self.conv = nn.Sequential(  # masks 27x27 -> 14x14 -> 7x7
            nn.Conv2d(2, s.union_width // 2, 7, 2, 3),
            nn.ReLU(),
            nn.BatchNorm2d(s.union_width // 2, momentum=0.01),
            nn.MaxPool2d(3, 2, 1),
            nn.Conv2d(s.union_width // 2, s.union_width, 3, 1, 1),
            nn.ReLU(),
            nn.BatchNorm2d(s.union_width, momentum=0.01),
        )
        self.subj_fc = nn.Linear(s.feature_width, s.part_width)
        self.obj_fc = nn.Linear(s.feature_width, s.part_width)
        self.vr_fc = nn.Linear(s.union_width * 7 * 7, s.part_width)
        self.obj_embed = nn.Embedding(s.num_objects + 1, s.class_width)
        self.obj_embed2 = nn.Embedding(s.num_objects + 1, s.class_width)
        self.glocal_transformer = SpatioTemporalTransformer(s)
        self.a_rel_compress = nn.Linear(s.width, s.attention)
        self.s_rel_compress = nn.Linear(s.width, s.spatial)
        self.c_rel_compress = nn.Linear(s.width, s.contacting)

    def pair_features(self, batch: PairBatch) -> Float[Tensor, "P D"]:
        """Return the concatenated features of each pair.

        They consist of the projected features of human, object and union box, followed by the class
        embeddings of human and object. The union part also encodes the spatial masks.
        """
        human, object_ = batch.pairs.unbind(1)
        union = self.union_func1(batch.union_features) + self.conv(batch.spatial_masks)
        parts = [
            self.subj_fc(batch.features[human]),
            self.obj_fc(batch.features[object_]),
            self.vr_fc(union.flatten(1)),  # (P, U, 7, 7) -> (P, part)
            self.obj_embed(batch.labels[human] + 1),
            self.obj_embed2(batch.labels[object_] + 1),
        ]
        return torch.cat(parts, 1)

    def forward(self, batch: PairBatch) -> RelationLogits:
        """Predict the predicates of every pair."""
        features = self.pair_features(batch)
        x, spatial = self.glocal_transformer(
            features, batch.pairs_per_frame, batch.frames_per_video
        )
        return RelationLogits(
            self.a_rel_compress(x),
            self.s_rel_compress(x),
            self.c_rel_compress(x),
            features,
            spatial,
            x,
        )
