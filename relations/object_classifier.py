"""STTran's object classifier: what a box shows, from its features, its place and the detector."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from relations.settings import PredictorSettings


class ObjectClassifier(nn.Module):
    """Logits over background and the object classes.

    Its input is the feature, the mean class embedding under the detector's distribution, and an
    encoding of the box as centre and size. Only SGCLS uses what it says. In training its norms need
    two boxes.
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
        """Classify.

        Args:
            features: of the boxes.
            distribution: the detector's, over the object classes.
            boxes: xyxy, pixels of the decoded frame.

        Returns:
            Logits, background first.
        """
        size = boxes[:, 2:] - boxes[:, :2] + 1
        place = torch.cat([boxes[:, :2] + size / 2, size], 1)
        said = distribution @ self.obj_embed.weight
        return self.decoder_lin(torch.cat([features, said, self.pos_embed(place)], 1))
