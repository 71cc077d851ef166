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
    """Distinct labels of tokens. A label is a pair of classes with a set of predicates.

    The pair consists of the object classes of the human and the object. The set is empty for an
    object without annotated relations, such as a detected object that no action involves.

    Attributes:
        pairs: (E, 2) int64 object classes of the human and the object of each label.
        predicates: (E, R) bool, the predicates of each label.
        counts: (E,) int64 number of tokens with each label.

    Raises:
        ValueError: if the shapes do not agree.
    """

    pairs: Tensor
    predicates: Tensor
    counts: Tensor

    def __post_init__(self) -> None:
        E = len(self.pairs)
        if (
            self.pairs.shape != (E, 2)
            or self.predicates.ndim != 2
            or (len(self.predicates), self.counts.shape) != (E, (E,))
        ):
            shapes = [tuple(value.shape) for value in vars(self).values()]
            raise ValueError(f"labels: (E, 2), (E, R) and (E,) expected, got {shapes}")

    def __len__(self) -> int:
        """Number of labels, E."""
        return len(self.pairs)

    @staticmethod
    def of_tokens(
        pairs: Int64[Tensor, "M 2"], predicates: Bool[Tensor, "M R"], *, least: int = 1
    ) -> "TokenLabels":
        """Collect the distinct labels of M tokens, sorted by classes and predicates.

        Args:
            pairs: object classes of the human and the object of each token.
            predicates: predicates of each token.
            least: smallest number of tokens of a label. If no label has as many, all are used.
        """
        rows = torch.cat([pairs, predicates.long()], 1)
        distinct, counts = rows.unique(dim=0, return_counts=True)
        often = counts >= least
        if bool(often.any()):
            distinct, counts = distinct[often], counts[often]
        return TokenLabels(distinct[:, :2], distinct[:, 2:].bool(), counts)

    def with_predicates(self) -> "TokenLabels":
        """Return the labels with at least one predicate, which can name a token."""
        said = self.predicates.any(1)
        return TokenLabels(self.pairs[said], self.predicates[said], self.counts[said])


@dataclass(frozen=True)
class LabelTargets:
    """Labels as the targets of L_sim for M tokens.

    Attributes:
        embeddings: (E, D) language embeddings of the labels.
        index: (M,) int64 label of each token, -1 if it is not among the E labels.
        weights: (E,) weight of the tokens of each label.
    """

    embeddings: Tensor
    index: Tensor
    weights: Tensor


class LabelReader(nn.Module):
    """Reads visual tokens as labels: each token becomes a mean of the tokens of labels.

        x_i = sum_e w_ie x_e,    w_i = softmax_e(t cos(v_i, s_e))

    v_i is the visual embedding of token i, s_e the language embedding of label e in the joint
    space, x_e the token of this label in the language branch, and t the scale of Eq. 8. Only the
    labels of the token's classes are used; if there are none, all labels are used. The
    appearance of a token reaches the following layers only through these weights. A token says
    something if the labels with predicates have more than half of the weight. In the network, L_sim
    alone trains the reading (`loss_reading`), so that the action losses cannot change what
    the labels mean.

    Args:
        num_labels: number of labels, E.
        num_predicates: number of predicates, R.

    Attributes:
        pairs: (E, 2) int64 object classes of the human and the object of each label; a buffer,
            stored with the weights.
        predicates: (E, R) bool, the predicates of each label; likewise.
        weights: (E,) float32 weight of the tokens of each label in L_sim, see `set_labels`; a
            buffer that is not stored.
    """

    pairs: Tensor
    predicates: Tensor
    weights: Tensor

    def __init__(self, num_labels: int, num_predicates: int) -> None:
        super().__init__()
        self.register_buffer("weights", torch.ones(num_labels), persistent=False)
        self.register_buffer("pairs", torch.zeros(num_labels, 2, dtype=torch.int64))
        self.register_buffer(
            "predicates", torch.zeros(num_labels, num_predicates, dtype=torch.bool)
        )

    def set_labels(self, labels: TokenLabels) -> None:
        """Set the labels, and the weights of their tokens.

            w_e = M n_e^(-1/2) / sum_j n_j^(1/2)

        n_e is the number of tokens of label e, and M that of all tokens. The mean weight of the
        tokens is 1. Without weights, rare labels are read worst.

        Raises:
            RuntimeError: if their number differs from the number that the network was built with.
        """
        self.load_state_dict({"pairs": labels.pairs, "predicates": labels.predicates})
        if len(labels):
            root = labels.counts.double().sqrt()
            weights = labels.counts.sum() / (root * root.sum())
            self.weights.copy_(weights)

    def index(
        self, pairs: Int64[Tensor, "M 2"], predicates: Bool[Tensor, "M R"]
    ) -> Int64[Tensor, "M"]:
        """Return the label of each token, or -1 if the reader does not have it.

        Args:
            pairs: object classes of the human and the object of each token.
            predicates: predicates of each token.
        """
        E = len(self.pairs)
        rows = torch.cat([self.predicates, predicates]).long()
        rows = torch.cat([torch.cat([self.pairs, pairs]), rows], 1)
        code: Tensor = rows.unique(dim=0, return_inverse=True)[1]  # one number per distinct label
        label = code.new_full((len(rows),), -1)
        label[code[:E]] = torch.arange(E, device=code.device)
        return label[code[E:]]

    def check(self, num_objects: int) -> None:
        """Check the object classes of the labels.

        Raises:
            ValueError: if a class is out of range.
        """
        if len(self.pairs) and not (
            0 <= int(self.pairs.min()) <= int(self.pairs.max()) < num_objects
        ):
            raise ValueError(
                f"reader.pairs: object classes from 0 to {num_objects - 1} expected, got "
                f"{int(self.pairs.min())} to {int(self.pairs.max())}"
            )

    def forward(
        self,
        visual: Float[Tensor, "M D"],
        pairs: Int64[Tensor, "M 2"],
        embeddings: Float[Tensor, "E D"],
        tokens: Float[Tensor, "E D"],
        log_scale: Float[Tensor, ""],
    ) -> tuple[Float[Tensor, "M D"], Bool[Tensor, "M"]]:
        """Read tokens.

        Args:
            visual: visual embeddings of the tokens.
            pairs: object classes of the human and the object of each token.
            embeddings: language embeddings s of the labels.
            tokens: tokens x of the labels in the language branch.
            log_scale: logarithm of t. As in L_sim, t is clamped to at most 100.

        Returns:
            A tuple of the tokens x, and whether each token says something. Without labels, the
            tokens are zero, and each says something.
        """
        if not len(embeddings):
            return torch.zeros_like(visual), torch.ones_like(pairs[:, 0], dtype=torch.bool)
        own = (pairs[:, None] == self.pairs[None]).all(2)
        own |= ~own.any(1, keepdim=True)
        with torch.autocast(visual.device.type, enabled=False):  # t up to 100 needs float32
            x, y = F.normalize(visual.float(), dim=1), F.normalize(embeddings.float(), dim=1)
            scores = log_scale.float().exp().clamp(max=100.0) * (x @ y.T)
            weights = scores.masked_fill(~own, float("-inf")).softmax(1)
            says = weights @ self.predicates.any(1).float() > 0.5
            return weights @ tokens.float(), says
