"""Action scores that a network predicts for cached clips."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import expit
from tqdm import tqdm

from model.laiar import LaIAR
from pipeline.errors import ItemError
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
    """

    video_ids: tuple[str, ...]
    logits: np.ndarray
    labels: np.ndarray
    kept: np.ndarray
    tokens: np.ndarray
    failed: dict[str, ItemError]

    @property
    def scores(self) -> np.ndarray:
        """(V, C) float64 probabilities, the sigmoid of the logits."""
        return np.asarray(expit(self.logits))

    @property
    def warnings(self) -> list[str]:
        """`EMPTY_SELECTION` if no token is kept, `WHOLE_SELECTION` if every token is kept."""
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
    branch: str = "video",
    bar: str | None = None,
) -> Scores:
    """Score all samples in order with one branch; discarded tokens are dropped.

    Args:
        model: network on `device`. It is set to eval mode.
        data: samples to score.
        device: device of the model.
        batch_size: videos per batch; it changes no score by more than 1e-5.
        workers: number of reading processes; 0 reads in the main process.
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
    return Scores(tuple(ids), logits, labels, kept, tokens, failed)
