"""LaIAR: a video branch and a language branch, of which inference needs the first."""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from model.dt_former import DTFormer, Selection
from model.encoder import RelationEncoder
from model.relation_features import SemanticRelation, VisualRelation
from model.settings import LaIARSettings
from model.tokens import ActionOutput, TokenBatch


@dataclass(frozen=True)
class BranchOutputs:
    """Both branches; `language` is None where the batch carries no predicates."""

    video: ActionOutput
    language: ActionOutput | None


class LaIAR(nn.Module):
    """Figure 2; parts are handed in (`model.build`).

    Attributes:
        log_scale: learnable temperature of Eq. 8, exp(log_scale) = t; CLIP's start 1 / 0.07.
    """

    def __init__(
        self,
        visual: VisualRelation,
        semantic: SemanticRelation,
        formers: tuple[DTFormer, DTFormer],
        *,
        num_classes: int,
        settings: LaIARSettings,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.visual, self.semantic = visual, semantic
        self.visual_encoder = RelationEncoder(visual.width, settings.dim)
        self.semantic_encoder = RelationEncoder(semantic.width, settings.dim)
        self.former, language = formers
        self.language_former = None if language is self.former else language
        self.video_head = nn.Linear(settings.dim, num_classes)  # C_v
        self.language_head = nn.Linear(settings.dim, num_classes)  # C_s
        self.mimic_head = nn.Linear(settings.dim, num_classes)  # C_v2s
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, batch: TokenBatch, *, select: bool = True) -> BranchOutputs:
        """Both branches, for training; without `select` every real token is kept."""
        keep = None if select else batch.mask
        video = self.recognize(batch, keep=keep)
        if batch.predicates is None:
            return BranchOutputs(video, None)
        local = self.semantic_encoder.local(self.semantic(batch), batch.mask)
        former = self.language_former or self.former
        z, embeddings, selection = former(local, batch.mask, self.semantic_encoder, keep=keep)
        language = _output(self.language_head(z), embeddings, selection, batch.mask)
        return BranchOutputs(video, language)

    def recognize(
        self,
        batch: TokenBatch,
        *,
        keep: Bool[Tensor, "B T K"] | None = None,
        gather: bool = False,
    ) -> ActionOutput:
        """Run the video branch alone.

        `gather` is meant for inference. It does one of three things:

        - `keep` is None and discard=mask: local representations of all tokens are computed once,
          the selectors decide, and the transformer's sequence holds [class] and the kept tokens
          alone. All fields of the result equal those without `gather` up to rounding; embeddings
          are there for all real tokens.
        - `keep` is given, context=kept and discard=mask: tokens outside `keep` are removed before
          anything is computed. For one video their number and content change no bit of the logits.
          Their embeddings are zero, and the selectors' maps come from the tokens in `keep` alone.
          With context=all the context needs all tokens: they are removed from the sequence only.
        - discard=zero: nothing. Zeroed tokens take attention there, so they stay in the sequence.

        Args:
            batch: B videos; `predicates` is not read.
            keep: (B, T, K) tokens to keep, or None to let the selectors decide.
            gather: remove discarded tokens instead of masking them.

        Returns:
            Logits of the video branch and of its estimate of the language branch, the selection
            and the embeddings.

        Raises:
            ValueError: for more frames or slots than the network has positions.
        """
        s = self.settings
        if gather and keep is not None and (s.context, s.discard) == ("kept", "mask"):
            batch = batch.only(keep)
        local = self.visual_encoder.local(self.visual(batch), batch.mask)
        z, embeddings, selection = self.former(
            local, batch.mask, self.visual_encoder, keep=keep, gather=gather
        )
        output = _output(self.video_head(z), embeddings, selection, batch.mask)
        return replace(output, mimic_logits=self.mimic_head(z))


def _output(logits: Tensor, embeddings: Tensor, selection: Selection, mask: Tensor) -> ActionOutput:
    return ActionOutput(
        logits=logits,
        keep_temporal=selection.temporal.detach() > 0.5,
        keep_spatial=(selection.spatial.detach() > 0.5) & mask,
        keep=selection.keep,
        keep_gate=selection.gate,
        keep_probability=selection.probability,
        embeddings=embeddings,
    )
