"""Action scores that a network predicts for cached clips."""

from dataclasses import dataclass

import numpy as np
import torch
from tqdm import tqdm

from model.laiar import LaIAR
from pipeline.errors import ItemError
from pipeline.evaluation.temperature import probabilities
from pipeline.samples.dataset import ClipDataset, batches


@dataclass(frozen=True)
class Scores:
    """Action scores of V videos.

    Attributes:
        video_ids: ids of the V videos.
        logits: (V, C) float64 logits.
        labels: (V, C) bool, True where a video has the action.
        kept: (V,) int, number of kept tokens.
        tokens: (V,) int, number of tokens, without padding.
        failed: mapping from the video id of each unreadable clip to its error.
        multi_label: whether a video can have several actions.
        selector: kind of the selector, see `LaIARSettings`; None if the network keeps every token.
    """

    video_ids: tuple[str, ...]
    logits: np.ndarray
    labels: np.ndarray
    kept: np.ndarray
    tokens: np.ndarray
    failed: dict[str, ItemError]
    multi_label: bool = True
    selector: str | None = None

    @property
    def scores(self) -> np.ndarray:
        """(V, C) float64 probabilities: the sigmoid or, without `multi_label`, the softmax."""
        return probabilities(self.logits, multi_label=self.multi_label)

    @property
    def warnings(self) -> list[str]:
        """Codes of the selection of all videos; none for a network without selectors.

        `EMPTY_SELECTION` if no token is kept, `WHOLE_SELECTION` if every token is kept, and
        `DEGENERATE_SELECTION` if selector=subset keeps less than 1 % or more than 99 % of them.
        """
        kept, tokens = int(self.kept.sum()), int(self.tokens.sum())
        if self.selector is None or not tokens:
            return []
        found = {
            "EMPTY_SELECTION": kept == 0,
            "WHOLE_SELECTION": kept == tokens,
            "DEGENERATE_SELECTION": self.selector == "subset" and not 0.01 <= kept / tokens <= 0.99,
        }
        return [code for code, holds in found.items() if holds]


def score_clips(
    model: LaIAR,
    data: ClipDataset,
    device: torch.device,
    *,
    batch_size: int,
    workers: int = 0,
    branch: str = "video",
    multi_label: bool = True,
    bar: str | None = None,
) -> Scores:
    """Score all samples in order with one branch; discarded tokens are dropped.

    Args:
        model: network on `device`. It is set to eval mode.
        data: samples to score.
        device: device of the model.
        batch_size: videos per batch; it changes no score by more than 1e-5.
        workers: number of reading processes; 0 reads in the main process.
        multi_label: whether a video can have several actions.
        branch: `video` or `language`; the language branch reads the predicates of the samples.
        bar: text of the progress bar; None shows no bar.

    Returns:
        Scores of the readable clips. Unreadable clips are returned in `failed`.
    """
    model.eval()
    run = model.recognize if branch == "video" else model.read_relations
    C = data.num_classes
    ids: list[str] = []
    failed: dict[str, ItemError] = {}
    rows = [(np.zeros((0, C)), np.zeros((0, C), bool), np.zeros(0, int), np.zeros(0, int))]
    with (
        torch.inference_mode(),
        tqdm(total=len(data), desc=bar, unit="video", disable=None if bar else True) as progress,
    ):
        for batch in batches(data, batch_size, workers=workers):
            progress.update(len(batch.video_ids) + len(batch.failed))
            failed |= dict(batch.failed)
            if batch.tokens is None:
                continue
            output = run(batch.tokens.to(device), gather=True)
            ids.extend(batch.video_ids)
            logits = output.logits.double().cpu().numpy()
            kept, tokens = output.num_kept.cpu().numpy(), batch.tokens.mask.sum((1, 2)).numpy()
            rows.append((logits, batch.labels.numpy() > 0, kept, tokens))
    logits, labels, kept, tokens = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    selector = model.settings.selector if model.settings.selects else None
    return Scores(tuple(ids), logits, labels, kept, tokens, failed, multi_label, selector)
