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
from relations.pairs import pairs_have_groups
from relations.settings import PredictorSettings
from relations.spatio_temporal import SpatioTemporalTransformer


@dataclass(frozen=True)
class RelationLogits:
    """Output of the relation predictor for P pairs.

    Attributes:
        groups: logits of the predicates of each group g, (P, Rg), in index order.
        exclusive: groups whose predicates are mutually exclusive.
        has_group: (P, G) bool, True if the pair has predicates of the group.
        features: (P, D) input of the transformer.
        spatial_features: (P, D) output of the spatial encoder.
        temporal_features: (P, D) output of the temporal decoder.
    """

    groups: dict[str, Tensor]
    exclusive: tuple[str, ...]
    has_group: Tensor
    features: Tensor
    spatial_features: Tensor
    temporal_features: Tensor

    def probabilities(self) -> Float[Tensor, "P R"]:
        """Return the probabilities of the predicates in index order.

        The softmax is applied to the logits of exclusive groups, and the sigmoid to all other
        logits. The probabilities of groups that a pair does not have are 0.
        """
        parts = []
        for (group, logits), there in zip(self.groups.items(), self.has_group.T, strict=True):
            x = logits.float()
            said = x.softmax(1) if group in self.exclusive else x.sigmoid()
            parts.append(torch.where(there[:, None], said, 0.0))
        return torch.cat(parts, 1)


#: Names of the heads of Action Genome's groups in the published checkpoints.
PUBLISHED_HEADS = {
    "attention": "a_rel_compress",
    "spatial": "s_rel_compress",
    "contacting": "c_rel_compress",
}


class STTran(nn.Module):
    """Relation predictor STTran, with one head per group of predicates.

    The head of group number g is named `rel_compress_g`, except for the groups of Action Genome,
    whose heads are named as in the published checkpoints. Row 0 of the class embeddings belongs to
    background and is not used.

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
        self.head_names = [
            PUBLISHED_HEADS.get(group, f"rel_compress_{n}") for n, group in enumerate(s.groups)
        ]
        for name, size in zip(self.head_names, s.groups.values(), strict=True):
            self.add_module(name, nn.Linear(s.width, size))

    def pair_features(self, batch: PairBatch) -> Float[Tensor, "P D"]:
        """Return the concatenated features of each pair.

        They consist of the projected features of human, object and union box, followed by the class
        embeddings of human and object. The union part also encodes the spatial masks. The first box
        of a pair has the place of the human, whatever its class.
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
        return self.read_groups(batch, x, features, spatial)

    def read_groups(
        self, batch: PairBatch, x: Tensor, features: Tensor, spatial: Tensor
    ) -> RelationLogits:
        """Apply the heads to the (P, D) output `x` of the temporal decoder."""
        s = self.settings
        heads = map(self.get_submodule, self.head_names)
        logits = {group: head(x) for group, head in zip(s.groups, heads, strict=True)}
        has_group = pairs_have_groups(batch.labels, batch.pairs, s.kinds, list(s.groups))
        return RelationLogits(logits, s.exclusive, has_group, features, spatial, x)
