"""Object classifier of STTran."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from relations.settings import PredictorSettings


class ObjectClassifier(nn.Module):
    """Classifier of boxes into background and the object classes.

    The input consists of the box feature, the class embedding averaged over the detector's class
    distribution, and an encoding of the box's centre and size. The output is used only in SGCLS.
    In training mode, batch normalisation requires at least two boxes.

    Args:
        settings: sizes of the relation predictor.
    """

    def __init__(self, settings: PredictorSettings) -> None:
        super().__init__()
        s = settings
        self.obj_embed = nn.Embedding(s.num_objects, s.class_width)
        self.pos_embed = nn.Sequential(
            nn.BatchNorm1d(4, momentum=0.001),
            nn.Linear(4, s.position_width),
            nn.ReLU(),
            nn.Dropout(s.dropout),
        )
        self.decoder_lin = nn.Sequential(
            nn.Linear(s.feature_width + s.class_width + s.position_width, s.object_width),
            nn.BatchNorm1d(s.object_width),
            nn.ReLU(),
            nn.Linear(s.object_width, s.num_objects + 1),
        )

    def forward(
        self,
        features: Float[Tensor, "N F"],
        distribution: Float[Tensor, "N O"],
        boxes: Float[Tensor, "N 4"],
    ) -> Float[Tensor, "N L"]:
        """Classify boxes.

        Args:
            features: features of the boxes.
            distribution: class distribution of the detector, without background.
            boxes: xyxy, pixels of the decoded frame.

        Returns:
            Logits over background (class 0) and the object classes, L = O + 1.
        """
        size = boxes[:, 2:] - boxes[:, :2] + 1
        place = torch.cat([boxes[:, :2] + size / 2, size], 1)
        said = distribution @ self.obj_embed.weight
        logits: Tensor = self.decoder_lin(torch.cat([features, said, self.pos_embed(place)], 1))
        return logits
