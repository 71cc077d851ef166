"""Scores of many cached clips."""

from dataclasses import dataclass

import numpy as np
import torch
from tqdm import tqdm

from model.laiar import LaIAR
from pipeline.errors import ItemError
from pipeline.samples.dataset import ClipDataset, batches


@dataclass(frozen=True)
class Scores:
    """What a network says of V videos.

    Attributes:
        video_ids: V ids.
        scores: (V, C) float64 probabilities; labels: (V, C) bool.
        kept: (V,) tokens kept; tokens: (V,) real tokens.
        failed: id -> why it could not be read.
    """

    video_ids: tuple[str, ...]
    scores: np.ndarray
    labels: np.ndarray
    kept: np.ndarray
    tokens: np.ndarray
    failed: dict[str, ItemError]

    @property
    def warnings(self) -> list[str]:
        """EMPTY_SELECTION if no token is kept, WHOLE_SELECTION if every token is kept."""
        kept, tokens = int(self.kept.sum()), int(self.tokens.sum())
        if not tokens or 0 < kept < tokens:
            return []
        return ["WHOLE_SELECTION" if kept else "EMPTY_SELECTION"]


def score_clips(
    model: LaIAR,
    data: ClipDataset,
    device: torch.device,
    *,
    batch_size: int,
    workers: int = 0,
    bar: str | None = None,
) -> Scores:
    """Run the video branch over all samples, in their order; discarded tokens are dropped.

    Args:
        model: on `device`; it is put in eval mode.
        data: samples.
        device: where to work.
        batch_size: videos at once; changes no score by more than 1e-5.
        workers: processes that read.
        bar: text of a progress bar, or None for none.
    """
    model.eval()
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
            output = model.recognize(batch.tokens.to(device), gather=True)
            ids.extend(batch.video_ids)
            scores = output.logits.double().sigmoid().cpu().numpy()
            kept, tokens = output.num_kept.cpu().numpy(), batch.tokens.mask.sum((1, 2)).numpy()
            rows.append((scores, batch.labels.numpy() > 0, kept, tokens))
    scores, labels, kept, tokens = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    return Scores(tuple(ids), scores, labels, kept, tokens, failed)
