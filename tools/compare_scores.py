"""`python -m tools.compare_scores A.npz B.npz`: compare two networks on the same videos.

A.npz and B.npz are `scores.npz` files of pipeline.evaluate. The command prints the difference B - A
of each metric with a 95 % interval, computed by a paired bootstrap over videos: every resample
draws the same videos for both networks. If the interval contains 0, the difference is undecided.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipeline.errors import UsageError
from pipeline.evaluation.inverse_pairs import score_inverse_pairs
from pipeline.evaluation.metrics import charades_map
from pipeline.runtime.command_line import EXIT_OK, common_parser, parse_words, run_command
from tools.evaluate_scores import read_arrays, read_scores

#: Function from the scores, the reversed scores and the labels of videos to a metric.
Metric = Callable[[np.ndarray, np.ndarray, np.ndarray], float | None]


def main(argv: list[str]) -> int:
    """Print the differences and return the exit code."""
    prog = "python -m tools.compare_scores"
    example = f"{prog} runs/a/scores.npz runs/b/scores.npz"
    parser = common_parser(prog, __doc__ or "", example, has_settings=False)
    parser.add_argument("first", type=Path, metavar="A.npz")
    parser.add_argument("second", type=Path, metavar="B.npz")
    parser.add_argument("--resamples", type=int, default=1000, help="number of resamples")
    parser.add_argument("--seed", type=int, default=0)
    args, _ = parse_words(parser, argv)
    if args.resamples < 1 or args.seed < 0:
        raise UsageError("--resamples of at least 1 and --seed of at least 0 expected")
    first, second, labels, pairs = read_both(args.first, args.second)
    print(f"{'metric':12} {'A':>8} {'B':>8} {'B - A':>8}   95 % interval ({len(labels)} videos)")
    for name, metric in metrics_of(pairs).items():
        whole = [metric(*scores, labels) for scores in (first, second)]
        if whole[0] is None or whole[1] is None or not np.isfinite(whole[1] - whole[0]):
            continue
        low, high = interval(
            first, second, labels, metric, resamples=args.resamples, seed=args.seed
        )
        verdict = "undecided" if low <= 0 <= high else ""
        print(
            f"{name:12} {whole[0]:8.4f} {whole[1]:8.4f} {whole[1] - whole[0]:+8.4f}   "
            f"{low:+.4f} to {high:+.4f} {verdict}".rstrip()
        )
    return EXIT_OK


def read_both(
    first: Path, second: Path
) -> tuple[
    tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray], np.ndarray, list[tuple[int, int]]
]:
    """Read the scores of both networks for the same videos, in one order.

    Returns:
        Scores and reversed scores of both networks, (V, C) each; labels, (V, C) bool; columns of
        inverse pairs. Without reversed scores, the scores take their place and there are no pairs.

    Raises:
        UsageError: if a file is invalid, or the files have other videos, classes or labels.
    """
    found = []
    for path in (first, second):
        scores, labels = read_scores(path)
        arrays = read_arrays(path)
        if "ids" not in arrays:
            raise UsageError(f"{path}: an array 'ids' expected, as pipeline.evaluate writes it")
        order = np.argsort(arrays["ids"])
        none = np.zeros((0, 2), np.int64)
        pairs, again = (arrays.get("pairs", none), arrays.get("reversed", scores))
        if "reversed" not in arrays:
            pairs = none
        if again.shape != scores.shape or pairs.ndim != 2 or pairs.shape[1:] != (2,):
            raise UsageError(f"{path}: reversed (V, C) and pairs (P, 2) expected")
        if pairs.dtype.kind != "i" or not ((pairs >= 0) & (pairs < scores.shape[1])).all():
            raise UsageError(f"{path}: pairs: columns of the scores expected")
        if again.dtype.kind not in "fiu" or not (np.isfinite(scores) & np.isfinite(again)).all():
            raise UsageError(f"{path}: finite real scores expected")
        found.append((arrays["ids"][order], labels[order], pairs, scores[order], again[order]))
    (ids, labels, pairs, *one), (other_ids, other_labels, other_pairs, *two) = found
    if not (len(pairs) and len(other_pairs)):  # one file has none: only the mAP is compared
        pairs = other_pairs = np.zeros((0, 2), np.int64)
    for what, a, b in (
        ("videos", ids, other_ids),
        ("labels", labels, other_labels),
        ("pairs", pairs, other_pairs),
    ):
        if a.shape != b.shape or not (a == b).all():
            raise UsageError(f"{second}: the same {what} as in {first} expected")
    columns = [(int(a), int(b)) for a, b in pairs]
    return (one[0], one[1]), (two[0], two[1]), labels, columns


def metrics_of(pairs: list[tuple[int, int]]) -> dict[str, Metric]:
    """Return the metrics by name; accuracy and flips are those of the inverse pairs."""
    return {
        "mAP": lambda s, _, labels: charades_map(s, labels).map,
        "accuracy": lambda s, again, labels: score_inverse_pairs(s, again, labels, pairs).accuracy,
        "flips": lambda s, again, labels: score_inverse_pairs(s, again, labels, pairs).flips,
    }


def interval(
    first: tuple[np.ndarray, np.ndarray],
    second: tuple[np.ndarray, np.ndarray],
    labels: np.ndarray,
    metric: Metric,
    *,
    resamples: int,
    seed: int,
) -> tuple[float, float]:
    """Return the 95 % percentile interval of the difference of a metric, second minus first.

    Args:
        first: scores and reversed scores of the first network, (V, C).
        second: scores and reversed scores of the second network, (V, C).
        labels: (V, C) bool.
        metric: metric of the resampled videos. Resamples without a value are skipped.
        resamples: number of resamples of V videos with replacement.
        seed: seed of the resamples.
    """
    rng, V = np.random.default_rng(seed), len(labels)
    found = []
    for _ in range(resamples):
        rows = rng.integers(V, size=V)
        a, b = (metric(s[rows], r[rows], labels[rows]) for s, r in (first, second))
        if a is not None and b is not None:
            found.append(b - a)
    low, high = np.nanquantile(found, [0.025, 0.975])
    return float(low), float(high)


if __name__ == "__main__":
    run_command(main)
