"""Action scores that a network predicts for cached clips."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from model.network import ActionNetwork
from model.subset_selector import EXPLORATION
from pipeline.errors import ItemError
from pipeline.evaluation.temperature import probabilities
from pipeline.samples.dataset import ClipDataset, batches

#: Tokens of each video that `score_clips` keeps.
KEEPS = ("selected", "all", "random", "half")


@dataclass(frozen=True)
class Scores:
    """Action scores of V videos.

    Attributes:
        video_ids: ids of the V videos.
        logits: (V, C) float64 logits.
        labels: (V, C) bool, True where a video has the action.
        kept: (V,) float64, number of kept tokens.
        drawn: (V,) float64, expected number of tokens in the subsets that the selectors draw in
            training.
        usable: (V,) float64, number of usable tokens, see `ActionOutput`.
        tokens: (V,) float64, number of tokens, without padding.
        failed: mapping from the video id of each unreadable clip to its error.
        multi_label: whether a video can have several actions.
        selector: kind of the selector, see `LaIARSettings`; None if the network keeps every token.
        clip_logits: (V, C) float64 part of the logits from clip features, or None without them.
    """

    video_ids: tuple[str, ...]
    logits: np.ndarray
    labels: np.ndarray
    kept: np.ndarray
    drawn: np.ndarray
    usable: np.ndarray
    tokens: np.ndarray
    failed: dict[str, ItemError]
    multi_label: bool = True
    selector: str | None = None
    clip_logits: np.ndarray | None = None

    @property
    def scores(self) -> np.ndarray:
        """(V, C) float64 probabilities: the sigmoid or, without `multi_label`, the softmax."""
        return probabilities(self.logits, multi_label=self.multi_label)

    @property
    def warnings(self) -> list[str]:
        """Codes of the selection of all videos; none for a network without selectors.

        `EMPTY_SELECTION` if no token is kept, `WHOLE_SELECTION` if every usable token is kept, and
        `DEGENERATE_SELECTION` if selector=subset keeps less than 1 % or more than 99 % of them, or
        would do so without a tolerance.
        """
        kept, usable = self.kept.sum(), self.usable.sum()
        if self.selector is None or not usable:
            return []
        own = (self.drawn.sum() / usable - EXPLORATION) / (1 - 2 * EXPLORATION)
        shares = (kept / usable, own)
        found = {
            "EMPTY_SELECTION": kept == 0,
            "WHOLE_SELECTION": kept == usable,
            "DEGENERATE_SELECTION": self.selector == "subset"
            and not all(0.01 <= share <= 0.99 for share in shares),
        }
        return [code for code, holds in found.items() if holds]


def score_clips(
    model: ActionNetwork,
    data: ClipDataset,
    device: torch.device,
    *,
    batch_size: int,
    workers: int = 0,
    branch: str = "video",
    multi_label: bool = True,
    keep: str = "selected",
    bar: str | None = None,
) -> Scores:
    """Score all samples in order with one branch; discarded tokens are dropped.

    Args:
        model: network on `device`. It is set to eval mode.
        data: samples to score.
        device: device of the model.
        batch_size: videos per batch; for a given selection, it changes no score by more than 1e-5.
        workers: number of reading processes; 0 reads in the main process.
        multi_label: whether a video can have several actions.
        branch: `video` or `language`; the language branch reads the predicates of the samples.
        keep: tokens of each video to keep, one of `KEEPS`: those that the selectors keep, all, a
            random subset of the size of the selection, or a random half.
        bar: text of the progress bar; None shows no bar.

    Returns:
        Scores of the readable clips. Unreadable clips are returned in `failed`.
    """
    model.eval()
    run = model.recognize if branch == "video" else model.read_relations
    C, generator = data.num_classes, torch.Generator().manual_seed(0)
    ids: list[str] = []
    failed: dict[str, ItemError] = {}
    counts = [torch.zeros(0, 4, dtype=torch.float64)]
    rows = [(np.zeros((0, C)), np.zeros((0, C), bool))]
    terms = [np.zeros((0, C))]
    with (
        torch.inference_mode(),
        tqdm(total=len(data), desc=bar, unit="video", disable=None if bar else True) as progress,
    ):
        for batch in batches(data, batch_size, workers=workers):
            progress.update(len(batch.video_ids) + len(batch.failed))
            failed |= dict(batch.failed)
            if batch.tokens is None:
                continue
            sample = batch.tokens.to(device)
            whole = sample.mask if keep in ("all", "half") else None
            output = run(sample, keep=whole, gather=True)
            usable = output.usable
            if keep in ("random", "half"):
                chosen = _choose(keep, usable, output.num_kept, generator)
                output = run(sample, keep=chosen, gather=True)
            ids.extend(batch.video_ids)
            rows.append((output.logits.double().cpu().numpy(), batch.labels.numpy() > 0))
            if output.clip_logits is not None:
                terms.append(output.clip_logits.double().cpu().numpy())
            parts = (output.keep, output.keep_probability, usable, sample.mask)
            counts.append(torch.stack([part.double().sum((1, 2)) for part in parts], 1).cpu())
    logits, labels = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    selects = model.settings.selects and keep == "selected"
    selector = model.settings.selector if selects else None
    kept, drawn, real, tokens = torch.cat(counts).numpy().T
    clip_logits = np.concatenate(terms) if len(terms) > 1 else None
    counted = (kept, drawn, real, tokens)
    return Scores(tuple(ids), logits, labels, *counted, failed, multi_label, selector, clip_logits)


def _choose(keep: str, mask: Tensor, size: Tensor, generator: torch.Generator) -> Tensor:
    """Return the (B, T, K) tokens to keep; `size` is the number of selected tokens per video."""
    if keep == "all":
        return mask
    if keep == "half":
        size = mask.sum((1, 2)).add(1) // 2
    order = torch.rand(mask.shape, generator=generator).to(mask.device).masked_fill(~mask, 2.0)
    rank = order.flatten(1).argsort(1).argsort(1).view(mask.shape)
    return mask & (rank < size[:, None, None])
