"""Cost of training the token selector, and time that the selection saves in prediction."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from model.laiar import LaIAR
from model.settings import MAX_TOLERANCE
from model.token_scorer import TokenScorer
from model.tokens import TokenBatch
from tools.proofs.benchmarks.timing import time_rounds
from tools.proofs.benchmarks.training import TrainingPlan, random_batch, random_trainer, run_step


@dataclass(frozen=True)
class SelectionPlan:
    """Settings of the measurement.

    Attributes:
        training: sizes of the network and of the batches; its first width is used.
        share: share of the tokens that the selector keeps in prediction.
    """

    training: TrainingPlan
    share: float = 0.4


def benchmark_selection(plan: SelectionPlan) -> dict[str, Any]:
    """Measure training steps and explanations with and without selection on the CPU.

    An explanation consists of the prediction of one video and the leave-one-out contributions of
    all kept tokens.

    Args:
        plan: settings of the measurement.

    Returns:
        JSON tree with the numbers of tokens and the milliseconds of the fastest round.
    """
    sizes = plan.training
    width = sizes.widths[0]
    trainer, videos = random_trainer(sizes, width), random_batch(sizes, 4 * width)
    model = trainer.task.model
    assert isinstance(model, LaIAR)
    video = random_batch(replace(sizes, num_videos=1), 4 * width).tokens
    assert video is not None
    whole, part = (copy.deepcopy(model).eval() for _ in range(2))
    kept = {"all": keep_share(whole, video, 1.0), "kept": keep_share(part, video, plan.share)}
    variants: dict[str, Callable[[], Any]] = {
        "step without selector": partial(run_step, trainer, videos),
        "step with selector": partial(run_step, trainer, videos, at=0.5),
        "explanation, all tokens": partial(_explain, whole, video),
        "explanation, kept tokens": partial(_explain, part, video),
    }
    found = time_rounds(variants, sizes.rounds, torch.device("cpu"))
    ms = {name: 1e3 * measured.best_s for name, measured in found.items()}
    return {"videos": sizes.num_videos, "width": width, "tokens": kept, "ms": ms}


def print_selection(result: dict[str, Any]) -> None:
    """Print the table."""
    tokens = result["tokens"]
    print(f"width {result['width']}, {result['videos']} videos per step; fastest round")
    print(f"an explanation of {tokens['all']} tokens, {tokens['kept']} of them kept\n")
    print(f"{'':26}{'ms':>9} {'ratio':>7}")
    rows = list(result["ms"].items())
    for place, (name, ms) in enumerate(rows):
        print(f"{name:26}{ms:9.1f} {ms / rows[place // 2 * 2][1]:7.2f}")


def keep_share(model: LaIAR, tokens: TokenBatch, share: float) -> int:
    """Change the selector of a network, so that it keeps this share of the tokens of a batch.

    The weights are random, so no small subset preserves the prediction. The tolerance is therefore
    set to the largest value.

    Returns:
        The number of kept tokens.
    """
    model.former.settings = replace(model.former.settings, tolerance=MAX_TOLERANCE)
    selector = model.former.subset
    assert selector is not None
    last = selector.mlp[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight.normal_(generator=torch.Generator().manual_seed(0))
        embedded, _, grid = model.video_tokens(tokens)
        z = selector(embedded, grid)[grid.mask]
        num = max(round(share * len(z)), 1)
        last.bias.sub_(z.sort(descending=True).values[num - 1] - 1e-4)
        return int(model.recognize(tokens).keep.sum())


def _explain(model: LaIAR, batch: TokenBatch) -> None:
    with torch.inference_mode():
        output = model.recognize(batch, gather=True)
        TokenScorer(model, batch).leave_one_out(output.keep[0][batch.mask[0]])
