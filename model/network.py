"""Base class of the networks that predict actions from tokens."""

from abc import ABC, abstractmethod

from jaxtyping import Bool
from torch import Tensor, nn

from model.labels import LabelReader
from model.noise import VideoNoise
from model.relation_features import VisualRelation
from model.settings import LaIARSettings
from model.tokens import ActionOutput, BranchOutputs, TokenBatch


class ActionNetwork(nn.Module, ABC):
    """Network that predicts actions from tokens: LaIAR or a baseline.

    Training and evaluation use only these attributes and methods.

    Attributes:
        settings: resolved settings, see `LaIARSettings.resolved`.
        visual: relation features of the video branch, or None for the language branch alone.
        reader: reader of visual tokens as labels, or None.
        log_scale: logarithm of the learnable scale t of Eq. 8, or None without a joint space.
    """

    settings: LaIARSettings
    visual: VisualRelation | None
    reader: LabelReader | None
    log_scale: Tensor | None

    @abstractmethod
    def forward(
        self,
        batch: TokenBatch,
        *,
        keep: Bool[Tensor, "B T K"] | None = None,
        price: float | None = None,
        noise: VideoNoise | None = None,
        excerpts: Bool[Tensor, "n B T K"] | None = None,
    ) -> BranchOutputs:
        """Run all branches, for training.

        Args:
            batch: tokens of B videos. If it has no predicates, the language branch is not run.
            keep: tokens that both branches keep. If None, the selectors determine them.
            price: price of a token for the selectors of selector=subset, in nats. If None, they are
                not trained.
            noise: noise of the videos, for the draws of the selectors. If None, it is drawn.
            excerpts: tokens of n excerpts of each video, which the language branch reads too.

        Returns:
            Outputs of both branches; None for a branch that the network or the batch lacks.

        Raises:
            ValueError: if there are more frames or slots than position embeddings.
        """

    @abstractmethod
    def recognize(
        self,
        batch: TokenBatch,
        *,
        keep: Bool[Tensor, "B T K"] | None = None,
        gather: bool = False,
    ) -> ActionOutput:
        """Run only the video branch.

        Args:
            batch: tokens of B videos. `predicates` is not used.
            keep: tokens to keep. If None, the network determines them.
            gather: if True, discarded tokens are removed instead of masked.
        """

    @abstractmethod
    def read_relations(
        self,
        batch: TokenBatch,
        *,
        keep: Bool[Tensor, "B T K"] | None = None,
        gather: bool = False,
    ) -> ActionOutput:
        """Run only the language branch, on the predicates of the batch.

        See `recognize` for the arguments.

        Raises:
            ValueError: if the network has no language branch, or the batch has no predicates.
        """

    @property
    def compares_tokens(self) -> bool:
        """Whether L_sim compares the tokens of both branches (Eq. 8)."""
        has_space = self.visual is not None and self.log_scale is not None
        return has_space and self.reader is None

    def parts(self) -> list[list[nn.Parameter]]:
        """Group the parameters into parts that no loss term trains together."""
        return [list(self.parameters())]
