"""Black-box network around a pooling of tokens."""

from jaxtyping import Bool
from torch import Tensor, nn

from model.baselines.graph import TokenGraph
from model.baselines.transformer import TokenTransformer
from model.dt_former import POSITION_SCALE, time_code
from model.encoder import RelationEncoder, scatter_tokens
from model.network import ActionNetwork
from model.noise import VideoNoise
from model.relation_features import VisualRelation
from model.settings import LaIARSettings
from model.tokens import ActionOutput, BranchOutputs, TokenBatch


class Baseline(ActionNetwork):
    """Black-box network: logits = W pool(x + e), trained with L_v alone.

    The tokens x have the relation features (Eq. 1) and the encoder of LaIAR's video branch, and e
    encodes their times in seconds. Every token is kept.

    Args:
        visual: relation features.
        pooling: computes the vector of a video from its tokens.
        num_classes: number of action classes, C.
        settings: resolved settings, see `LaIARSettings.resolved`.
    """

    visual: VisualRelation
    reader = None
    log_scale = None

    def __init__(
        self,
        visual: VisualRelation,
        pooling: TokenTransformer | TokenGraph,
        *,
        num_classes: int,
        settings: LaIARSettings,
    ) -> None:
        super().__init__()
        self.settings, self.visual, self.pooling = settings, visual, pooling
        self.encoder = RelationEncoder(
            visual.width,
            settings.dim,
            mlp=settings.encoder == "mlp",
            dropout=settings.dropout,
            has_context=False,
        )
        self.head = nn.Linear(pooling.width, num_classes)

    def forward(
        self,
        batch: TokenBatch,
        *,
        keep: Bool[Tensor, "B T K"] | None = None,
        price: float | None = None,
        noise: VideoNoise | None = None,
        excerpts: Bool[Tensor, "n B T K"] | None = None,
    ) -> BranchOutputs:
        """Run the network, for training.

        Args:
            batch: tokens of B videos. `predicates` is not used.
            keep: tokens to use. If None, all tokens.
            price: not used, because there are no selectors.
            noise: not used.
            excerpts: not used, because there is no language branch.

        Returns:
            The output of the video branch.
        """
        return BranchOutputs(self.recognize(batch, keep=keep), None)

    def recognize(
        self,
        batch: TokenBatch,
        *,
        keep: Bool[Tensor, "B T K"] | None = None,
        gather: bool = False,
    ) -> ActionOutput:
        """Predict the actions of videos.

        Args:
            batch: tokens of B videos. `predicates` is not used.
            keep: tokens to use. The other tokens are removed before any computation. If None, all
                tokens.
            gather: not used.

        Returns:
            An output in which every used token is kept.
        """
        if keep is not None:
            batch = batch.only(keep)
        mask, grid = batch.mask, batch.grid
        tokens = scatter_tokens(self.encoder(self.visual(batch)), mask)
        gate = mask.to(tokens.dtype)
        x = tokens + POSITION_SCALE * time_code(grid.times_s, tokens.shape[-1]).to(tokens)
        return ActionOutput(
            logits=self.head(self.pooling(x, grid)),
            keep_temporal=mask.any(2),
            usable=mask,
            keep_spatial=mask,
            keep=mask,
            keep_gate=gate,
            keep_probability=gate,
            embeddings=tokens,
        )

    def read_relations(
        self,
        batch: TokenBatch,
        *,
        keep: Bool[Tensor, "B T K"] | None = None,
        gather: bool = False,
    ) -> ActionOutput:
        """Raise ValueError, because a baseline has no language branch."""
        raise ValueError(
            f"a network with a language branch expected, got network={self.settings.network}"
        )
