"""Training loss of LaIAR on a batch of videos."""

from collections.abc import Sequence

import torch
from torch import Tensor

from model.criterion import LaIARCriterion, similarity_rows
from model.labels import THRESHOLD
from model.network import ActionNetwork
from model.noise import VideoNoise
from model.selector import random_excerpts, random_subsets
from model.tokens import BranchOutputs, TokenBatch
from pipeline.config.schema import TrainConfig
from pipeline.samples.dataset import SampleBatch
from pipeline.samples.labels import subset_labels
from pipeline.training.optimizer import autocast
from pipeline.training.parts import Part
from pipeline.training.task import Objective, PartLoss

#: Smallest probability of keeping a token of an excerpt.
EXCERPT_SHARE = 0.1


class LaIARObjective(Objective):
    """Loss of Eq. 11, with the subsets and excerpts that the settings add.

    Args:
        model: network on `device`.
        criterion: loss function.
        settings: settings of the training run.
        device: device to train on.
        total_steps: number of steps of the whole training run.
    """

    counted = ("videos", "tokens", "labelled")

    def __init__(
        self,
        model: ActionNetwork,
        criterion: LaIARCriterion,
        settings: TrainConfig,
        device: torch.device,
        total_steps: int,
    ) -> None:
        super().__init__()
        self.model, self.criterion = model, criterion
        self.settings, self.device, self.total_steps = settings, device, total_steps

    def trains_selection(self, step: int) -> bool:
        """Return whether the selectors are used and trained in a step."""
        return step >= self.settings.selection_warmup * self.total_steps

    def counts(self, batch: SampleBatch) -> dict[str, float]:
        """Return the numbers of videos, of tokens, and of tokens with a label (`LabelReader`)."""
        tokens, reader = batch.tokens, self.model.reader
        assert tokens is not None
        labelled = 0.0
        if reader is not None and tokens.predicates is not None:
            said = (tokens.predicates >= THRESHOLD).to(self.device)
            labelled = float((reader.index(tokens.pairs.to(self.device), said) >= 0).sum())
        return {"videos": len(tokens), "tokens": float(tokens.mask.sum()), "labelled": labelled}

    def forward(self, batch: SampleBatch, part: Part) -> PartLoss:
        """Compute the loss of videos.

        Returns:
            The terms of `LaIARCriterion` and `excerpts`; and the means `kept` (tokens per video
            that the network was trained on), `selected` (tokens in the subsets that the selector
            drew, only if it was trained) and `tokens` (tokens per video, without padding).
        """
        tokens, labels, during = self._moved(batch)
        has_excerpts = bool(self.criterion.settings.excerpts)
        num_excerpts = self.settings.num_excerpts if has_excerpts else 0
        outputs, keep, excerpts = self._run(batch.video_ids, tokens, part, num_excerpts)
        target = labels.argmax(1)
        if self.criterion.settings.multi_label:
            target = labels
            if keep is not None:
                target = subset_labels(labels, during, tokens.mask, keep)
        # Outside autocast: in bfloat16, L_sim cannot tell similar labels apart.
        terms = self.criterion(outputs, target, tokens, self.model.log_scale, part)
        if target.is_floating_point() and tokens.clip_features is not None:
            terms["video"] = self.criterion.clip_loss(outputs, target, labels)
        if outputs.excerpts is not None:
            targets = [subset_labels(labels, during, tokens.mask, keep) for keep in excerpts]
            terms["excerpts"] = self.criterion.excerpt_loss(list(outputs.excerpts), targets)
        output = outputs.video or outputs.language
        assert output is not None
        videos = part.shares["videos"]
        means = {
            "kept": videos * output.num_kept.double().mean(),
            "tokens": videos * tokens.mask.sum().double() / len(tokens),
        }
        if outputs.drawn is not None:
            means["selected"] = videos * outputs.drawn.double()
        shares = self._shares(part)
        return PartLoss({name: shares[name] * term for name, term in terms.items()}, means)

    def rows(self, batch: SampleBatch, part: Part) -> Sequence[Tensor] | None:
        """Return the embeddings of both branches for L_sim (Eq. 8), without reading."""
        if not self.model.compares_tokens:
            return None
        tokens, _, _ = self._moved(batch)
        outputs, _, _ = self._run(batch.video_ids, tokens, part)
        return similarity_rows(outputs, tokens)

    def _moved(self, batch: SampleBatch) -> tuple[TokenBatch, Tensor, Tensor]:
        assert batch.tokens is not None
        to = self.device
        return batch.tokens.to(to), batch.labels.to(to), batch.during.to(to)

    def _run(
        self, video_ids: Sequence[str], tokens: TokenBatch, part: Part, num_excerpts: int = 0
    ) -> tuple[BranchOutputs, Tensor | None, list[Tensor]]:
        """Run both branches; return their outputs, the tokens that they keep, and the excerpts."""
        s, settings, keep = self.settings, self.model.settings, None
        noise = VideoNoise(torch.tensor(part.seeds(video_ids)).to(self.device))
        learns = self.trains_selection(part.step)
        if not (learns and settings.selects and settings.selector == "gumbel"):
            keep = random_subsets(tokens.mask, s.least_share, noise)
        if tokens.predicates is None or not num_excerpts:
            excerpts, stacked = [], None
        else:
            share = EXCERPT_SHARE
            excerpts = [random_excerpts(tokens.mask, share, noise) for _ in range(num_excerpts)]
            stacked = torch.stack(excerpts)
        with autocast(s.amp, self.device):
            price = s.token_price if learns else None
            outputs = self.model(tokens, keep=keep, price=price, noise=noise, excerpts=stacked)
        return outputs, keep, excerpts

    def _shares(self, part: Part) -> dict[str, float]:
        """Return the factor of each term: its share of what the term is a mean over."""
        shares, settings = part.shares, self.model.settings
        return {
            **dict.fromkeys(("video", "language", "cross_modal", "excerpts"), shares["videos"]),
            # L_sim without reading compares the tokens of all parts; the criterion divides it.
            "similarity": 1.0 if self.model.reader is None else shares["labelled"],
            "selection": shares["videos" if settings.selector == "subset" else "tokens"],
        }
