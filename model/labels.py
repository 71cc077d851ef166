"""Token labels, and reading of visual tokens as labels."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

#: A token's label contains the predicates with at least this score.
THRESHOLD = 0.5


@dataclass(frozen=True)
class TokenLabels:
    """Distinct labels of tokens. A label is an object class with a set of predicates.

    The set is empty for an object without annotated relations, such as a detected object that no
    action involves.

    Attributes:
        objects: (E,) int64 object class of each label.
        predicates: (E, R) bool, the predicates of each label.
        counts: (E,) int64 number of tokens with each label.

    Raises:
        ValueError: if the shapes do not agree.
    """

    objects: Tensor
    predicates: Tensor
    counts: Tensor

    def __post_init__(self) -> None:
        E = len(self.objects)
        if (
            self.objects.ndim != 1
            or self.predicates.ndim != 2
            or (len(self.predicates), self.counts.shape) != (E, (E,))
        ):
            shapes = [tuple(value.shape) for value in vars(self).values()]
            raise ValueError(f"labels: (E,), (E, R) and (E,) expected, got {shapes}")

    def __len__(self) -> int:
        """Number of labels, E."""
        return len(self.objects)

    @staticmethod
    def of_tokens(
        objects: Int64[Tensor, "M"], predicates: Bool[Tensor, "M R"], *, least: int = 1
    ) -> "TokenLabels":
        """Collect the distinct labels of M tokens, sorted by object class and predicates.

        Args:
            objects: object class of each token.
            predicates: predicates of each token.
            least: smallest number of tokens of a label. If no label has as many, all are used.
        """
        rows = torch.cat([objects[:, None], predicates.long()], 1)
        distinct, counts = rows.unique(dim=0, return_counts=True)
        often = counts >= least
        if bool(often.any()):
            distinct, counts = distinct[often], counts[often]
        return TokenLabels(distinct[:, 0], distinct[:, 1:].bool(), counts)

    def with_predicates(self) -> "TokenLabels":
        """Return the labels with at least one predicate, which can name a token."""
        said = self.predicates.any(1)
        return TokenLabels(self.objects[said], self.predicates[said], self.counts[said])


@dataclass(frozen=True)
class LabelTargets:
    """Labels as the targets of L_sim for M tokens.

    Attributes:
        embeddings: (E, D) language embeddings of the labels.
        index: (M,) int64 label of each token, -1 if it is not among the E labels.
    """

    embeddings: Tensor
    index: Tensor


class LabelReader(nn.Module):
    """Reads visual tokens as labels: each token becomes a mean of the tokens of labels.

        x_i = sum_e w_ie x_e,    w_i = softmax_e(t cos(v_i, s_e))

    v_i is the visual embedding of token i, s_e the language embedding of label e in the joint
    space, x_e the token of this label in the language branch, and t the scale of Eq. 8. Only the
    labels of the token's object class are used; if there are none, all labels are used. The
    appearance of a token reaches the following layers only through these weights. A token says
    something if the labels with predicates have more than half of the weight. In the network, L_sim
    alone trains the reading (`loss_reading`), so that the action losses cannot change what
    the labels mean.

    Args:
        num_labels: number of labels, E.
        num_predicates: number of predicates, R.

    Attributes:
        objects: (E,) int64 object class of each label; a buffer, stored with the weights.
        predicates: (E, R) bool, the predicates of each label; likewise.
    """

    objects: Tensor
    predicates: Tensor

    def __init__(self, num_labels: int, num_predicates: int) -> None:
        super().__init__()
        self.register_buffer("objects", torch.zeros(num_labels, dtype=torch.int64))
        self.register_buffer(
            "predicates", torch.zeros(num_labels, num_predicates, dtype=torch.bool)
        )

    def set_labels(self, labels: TokenLabels) -> None:
        """Set the labels.

        Raises:
            RuntimeError: if their number differs from the number that the network was built with.
        """
        self.load_state_dict({"objects": labels.objects, "predicates": labels.predicates})

    def index(
        self, objects: Int64[Tensor, "M"], predicates: Bool[Tensor, "M R"]
    ) -> Int64[Tensor, "M"]:
        """Return the label of each token, or -1 if the reader does not have it.

        Args:
            objects: object class of each token.
            predicates: predicates of each token.
        """
        E = len(self.objects)
        rows = torch.cat([self.predicates, predicates]).long()
        rows = torch.cat([torch.cat([self.objects, objects])[:, None], rows], 1)
        code: Tensor = rows.unique(dim=0, return_inverse=True)[1]  # one number per distinct label
        label = code.new_full((len(rows),), -1)
        label[code[:E]] = torch.arange(E, device=code.device)
        return label[code[E:]]

    def check(self, num_objects: int) -> None:
        """Check the object classes of the labels.

        Raises:
            ValueError: if a class is out of range.
        """
        if len(self.objects) and not (
            0 <= int(self.objects.min()) <= int(self.objects.max()) < num_objects
        ):
            raise ValueError(
                f"reader.objects: object classes from 0 to {num_objects - 1} expected, got "
                f"{int(self.objects.min())} to {int(self.objects.max())}"
            )

    def forward(
        self,
        visual: Float[Tensor, "M D"],
        object_labels: Int64[Tensor, "M"],
        embeddings: Float[Tensor, "E D"],
        tokens: Float[Tensor, "E D"],
        log_scale: Float[Tensor, ""],
    ) -> tuple[Float[Tensor, "M D"], Bool[Tensor, "M"]]:
        """Read tokens.

        Args:
            visual: visual embeddings of the tokens.
            object_labels: object class of each token.
            embeddings: language embeddings s of the labels.
            tokens: tokens x of the labels in the language branch.
            log_scale: logarithm of t. As in L_sim, t is clamped to at most 100.

        Returns:
            A tuple of the tokens x, and whether each token says something. Without labels, the
            tokens are zero, and each says something.
        """
        if not len(embeddings):
            return torch.zeros_like(visual), torch.ones_like(object_labels, dtype=torch.bool)
        own = object_labels[:, None] == self.objects[None]
        own |= ~own.any(1, keepdim=True)
        with torch.autocast(visual.device.type, enabled=False):  # t up to 100 needs float32
            x, y = F.normalize(visual.float(), dim=1), F.normalize(embeddings.float(), dim=1)
            scores = log_scale.float().exp().clamp(max=100.0) * (x @ y.T)
            weights = scores.masked_fill(~own, float("-inf")).softmax(1)
            says = weights @ self.predicates.any(1).float() > 0.5
            return weights @ tokens.float(), says
