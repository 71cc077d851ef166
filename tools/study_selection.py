"""`python -m tools.study_selection`: measure selectors on a problem with a known right selection.

The problem is planted in random tokens: two tokens of one object have the predicates 0 and 1, and
the order of the two determines the class. All other tokens are random. A selector is right if it
keeps exactly the two planted tokens of each video. The command trains a small language branch per
seed and prints the share of right classes and of kept tokens, and the precision and recall of the
selection, on other videos.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Bool, Float
from torch import Tensor

from model.build import build_laiar
from model.criterion import CriterionSettings, LaIARCriterion
from model.laiar import LaIAR
from model.selector import random_subsets
from model.settings import LaIARSettings
from model.tokens import TokenBatch
from pipeline.errors import UsageError
from pipeline.runtime.command_line import EXIT_OK, common_parser, parse_words, run_command

EXAMPLE = "python -m tools.study_selection --selector gumbel --weight 0 --seeds 5"
OBJECTS, PREDICATES, FRAMES, SLOTS = 6, 4, 6, 3
_WARMUP, _TEST_VIDEOS, _LR = 100, 200, 3e-3


@dataclass(frozen=True)
class PlantedVideos:
    """Videos of the planted problem.

    Attributes:
        batch: tokens of V videos.
        labels: (V, 2) float32, 1 for the class of a video.
        right: (V, T, K) bool, True for the two planted tokens of each video.
    """

    batch: TokenBatch
    labels: Float[Tensor, "V 2"]
    right: Bool[Tensor, "V T K"]


@dataclass(frozen=True)
class SelectionScores:
    """Result of a selector on the planted problem.

    Attributes:
        accuracy: share of videos whose class has the higher logit.
        kept: mean number of kept tokens per video.
        tokens: mean number of tokens per video.
        precision: share of the kept tokens that are planted; NaN if none is kept.
        recall: share of the planted tokens that are kept.
    """

    accuracy: float
    kept: float
    tokens: float
    precision: float
    recall: float


def main(argv: list[str]) -> int:
    """Print one row per seed and return the exit code."""
    prog = "python -m tools.study_selection"
    parser = common_parser(prog, __doc__ or "", EXAMPLE, has_settings=False)
    parser.add_argument("--selector", choices=("subset", "gumbel"), default="subset")
    parser.add_argument("--price", type=float, default=0.3, help="price of a token, for subset")
    parser.add_argument(
        "--weight", type=float, default=0.0, help="weight of the sparsity, for gumbel"
    )
    parser.add_argument("--steps", type=int, default=200, help="number of training steps")
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds, from 0")
    args, _ = parse_words(parser, argv)
    if min(args.price, args.weight) < 0 or args.steps < 1 or args.seeds < 1:
        raise UsageError(
            "--price and --weight of at least 0, and --steps and --seeds of at least 1 expected"
        )
    torch.set_num_threads(1)  # faster for such small tensors
    print("seed  accuracy  kept of tokens  precision  recall")
    for seed in range(args.seeds):
        model = learn(seed, args.selector, price=args.price, weight=args.weight, steps=args.steps)
        row = measure(model, seed)
        print(
            f"{seed:4d}  {row.accuracy:.3f}  {row.kept:5.2f} of {row.tokens:.2f}  "
            f"{row.precision:.3f}  {row.recall:.3f}"
        )
    return EXIT_OK


def plant(seed: int, videos: int) -> PlantedVideos:
    """Generate videos of the planted problem.

    Object 1 has predicate 0 in one frame and predicate 1 in another, in the order of class 0, or in
    the reverse order of class 1. The other objects have random predicates in random frames.

    Args:
        seed: seed of the videos.
        videos: number of videos.
    """
    g = torch.Generator().manual_seed(seed)
    mask = torch.rand(videos, FRAMES, SLOTS, generator=g) < 0.5
    mask[:, :, 0] = False
    objects = torch.randint(2, OBJECTS, mask.shape, generator=g)
    objects[:, :, 0] = 1
    said = torch.randint(0, PREDICATES, mask.shape, generator=g)
    labels = torch.randint(0, 2, (videos,), generator=g)
    for v in range(videos):
        first, last = torch.randperm(FRAMES, generator=g)[:2].sort().values.tolist()
        mask[v, [first, last], 0] = True
        said[v, first, 0], said[v, last, 0] = labels[v], 1 - labels[v]
    none = torch.zeros(int(mask.sum()), 1)
    batch = TokenBatch(
        mask=mask,
        human_features=none,
        object_features=none,
        union_features=none[..., None, None],
        spatial_masks=none[..., None, None],
        human_labels=torch.zeros(len(none), dtype=torch.int64),
        object_labels=objects[mask],
        times_s=torch.arange(FRAMES)[None, :, None].expand(mask.shape)[mask].float(),
        tracks=objects[mask],
        predicates=F.one_hot(said[mask], PREDICATES).float(),
    )
    right = mask.clone()
    right[:, :, 1:] = False
    return PlantedVideos(batch, F.one_hot(labels, 2).float(), right)


def learn(seed: int, selector: str, *, price: float, weight: float, steps: int) -> LaIAR:
    """Train a language branch with a selector on 320 videos.

    The first steps train the network on random subsets. The selector is trained in the others.

    Args:
        seed: seed of the videos and of the weights.
        selector: see `LaIARSettings`.
        price: price of a token, for selector=subset.
        weight: weight of the sparsity, for selector=gumbel.
        steps: number of training steps.
    """
    torch.manual_seed(seed)
    settings = LaIARSettings(
        dim=32,
        layers=1,
        heads=2,
        num_frames=FRAMES,
        max_pairs=SLOTS,
        dropout=0.0,
        selector=selector,
    )
    model = build_laiar(
        num_classes=2,
        num_objects=OBJECTS,
        group_sizes={"contacting": PREDICATES},
        box_features=1,
        union_channels=1,
        settings=settings,
        has_video=False,
    )
    criterion = LaIARCriterion(CriterionSettings(reduction="sum", selection=weight))
    optimizer = torch.optim.AdamW(model.parameters(), lr=_LR)
    data = [plant(1000 * seed + i, 32) for i in range(10)]
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = _LR * min(1.0, (steps - step) / 50)
        videos, learns = data[step % len(data)], step >= _WARMUP
        keep = None
        if not learns or selector == "subset":
            keep = random_subsets(videos.batch.mask, 0.5)
        outputs = model(videos.batch, keep=keep, price=price if learns else None)
        terms = criterion(outputs, videos.labels, videos.batch, model.log_scale)
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        for part in model.parts():
            torch.nn.utils.clip_grad_norm_(part, 1.0)
        optimizer.step()
    return model.eval()


def measure(model: LaIAR, seed: int) -> SelectionScores:
    """Measure a selector on videos that it was not trained on."""
    videos = plant(10**6 + seed, _TEST_VIDEOS)
    with torch.no_grad():
        output = model.read_relations(videos.batch, gather=True)
    both = float((output.keep & videos.right).sum())
    kept, right = float(output.keep.sum()), float(videos.right.sum())
    wins = output.logits.argmax(1) == videos.labels.argmax(1)
    return SelectionScores(
        float(wins.float().mean()),
        kept / _TEST_VIDEOS,
        float(videos.batch.mask.sum()) / _TEST_VIDEOS,
        both / kept if kept else float("nan"),
        both / right,
    )


if __name__ == "__main__":
    run_command(main)
