"""`python -m tools.study_world`: compute statistics of the annotations of the synthetic world.

The first table compares two classifiers on videos with exactly one class of an inverse pair. One
classifier uses the relations of a video, and the other uses the changes of these relations. The
second table lists the scores of linear readers of all classes. The last part lists statistics of
classes, objects, predicates and durations, for comparison with Charades and Action Genome.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from tqdm import tqdm

from pipeline.cache.folder import store_clip, write_cache_info
from pipeline.errors import UsageError
from pipeline.evaluation.inverse_pairs import score_inverse_pairs
from pipeline.evaluation.metrics import charades_map
from pipeline.runtime.command_line import EXIT_OK, common_parser, parse_words, run_command
from tools.world.annotated_script import (
    AnnotatedScript,
    annotate,
    bag,
    cache_info,
    changes,
    shuffled,
    to_clip,
)
from tools.world.plot import write_script
from tools.world.rules import Rules, load_rules
from tools.world.script import Settings

EXAMPLE = "python -m tools.study_world --train 4000 --test 2000 --seed 0"
_LEAST_VIDEOS = 20


def main(argv: list[str]) -> int:
    """Print the tables and return the exit code."""
    prog = "python -m tools.study_world"
    parser = common_parser(prog, __doc__ or "", EXAMPLE, has_settings=False)
    parser.add_argument("--train", type=int, default=4000, help="number of training videos")
    parser.add_argument("--test", type=int, default=2000, help="number of test videos")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--cache", type=Path, help="also write a cache of the scripts, without pixels, here"
    )
    parser.add_argument(
        "--shuffle",
        action="store_true",
        help="shuffle the annotated frames of each video: a control in which no method can "
        "distinguish inverse actions",
    )
    parser.add_argument(
        "--share",
        type=float,
        default=1.0,
        help="the linear readers of all classes see this share of the tokens, drawn at random",
    )
    args, _ = parse_words(parser, argv)
    if min(args.train, args.test) < 1 or args.seed < 0:
        raise UsageError("--train and --test of at least 1, and --seed of at least 0 expected")
    if not 0 < args.share <= 1:
        raise UsageError(f"--share: above 0 and at most 1 expected, got {args.share}")
    rules, settings = load_rules(), Settings(seed=args.seed)
    train, test = (
        [annotate(rules, write_script(rules, settings, split, i)) for i in range(num)]
        for split, num in (("train", args.train), ("test", args.test))
    )
    if args.shuffle:
        train, test = (
            [shuffled(v, [args.seed, s, i]) for i, v in enumerate(part)]
            for s, part in enumerate((train, test))
        )
    if args.cache is not None:
        write_cache(rules, [*train, *test], args.cache)
    print_order(rules, train, test)
    print_readers(rules, train, test, share=args.share, seed=args.seed)
    print_distributions(rules, train)
    return EXIT_OK


def write_cache(rules: Rules, videos: list[AnnotatedScript], folder: Path) -> None:
    """Write a cache of clips without features, for `branch=language`.

    Raises:
        UsageError: if the folder is not empty.
    """
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"--cache: a new or empty folder expected, got {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    write_cache_info(folder, cache_info(rules))
    for video in tqdm(videos, desc="write", unit="clip", disable=None):
        store_clip(folder, to_clip(rules, video))
    print(f"cache: {len(videos)} clips in {folder}")


def print_order(rules: Rules, train: list[AnnotatedScript], test: list[AnnotatedScript]) -> None:
    """Print the balanced accuracy of both classifiers per inverse pair, and the means."""
    print("inverse pair (class ids)  train  test  balanced accuracy: bag of relations  with order")
    rows = []
    for pair in rules.inverse_pairs:
        parts = [[t for t in split if len(t.classes & set(pair)) == 1] for split in (train, test)]
        sides = [{pair[0] in t.classes for t in part} for part in parts]
        if min(map(len, parts)) < _LEAST_VIDEOS or any(len(s) < 2 for s in sides):
            print(f"{pair[0]} {pair[1]}  {len(parts[0]):5d} {len(parts[1]):5d}  too few videos")
            continue
        both = [_accuracy(parts[0], parts[1], pair[0], see) for see in (bag, changes)]
        rows.append(both)
        counts = f"{len(parts[0]):5d} {len(parts[1]):5d}"
        print(f"{pair[0]} {pair[1]}  {counts}  {both[0]:.3f}  {both[1]:.3f}")
    if rows:
        means = np.array(rows).mean(0)
        print(f"mean of {len(rows)} pairs  {means[0]:.3f}  {means[1]:.3f}")


def print_readers(
    rules: Rules,
    train: list[AnnotatedScript],
    test: list[AnnotatedScript],
    *,
    share: float,
    seed: int,
) -> None:
    """Print mAP and inverse-pair scores of linear readers of all classes: a ceiling for networks.

    A reader is one logistic regression per class on the relations of a video, on their changes, or
    on both.

    Args:
        rules: contents of configs/world/.
        train: training videos.
        test: test videos.
        share: probability that a reader sees a token, in training and at test.
        seed: seed of the tokens that are seen.
    """
    column = {class_id: index for index, class_id in enumerate(rules.action_ids)}
    pairs = [(column[a], column[b]) for a, b in rules.inverse_pairs]
    labels = [_labels(column, part) for part in (train, test)]
    rng = np.random.default_rng(seed)
    keeps = [
        [rng.random((len(v.frames), len(v.objects))) < share for v in part]
        for part in (train, test)
    ]
    print("\nlinear reader of all classes  mAP  inverse pairs: cases  accuracy  flips")
    for name, features in (("relations", [bag]), ("changes", [changes]), ("both", [bag, changes])):
        seen = [
            [_features(v, keep, features) for v, keep in zip(part, kept, strict=True)]
            for part, kept in zip((train, test), keeps, strict=True)
        ]
        videos = zip(test, keeps[1], strict=True)
        again = [_features(v, keep, features, reverse=True) for v, keep in videos]
        names = {key: i for i, key in enumerate(sorted({k for row in seen[0] for k in row}))}
        x, y, reversed_y = (_matrix(rows, names) for rows in (*seen, again))
        scores = np.full((2, len(test), len(column)), -100.0)  # classes without training videos
        for c in range(len(column)):
            known = labels[0][:, c]
            if 0 < known.sum() < len(known):
                model = LogisticRegression(solver="liblinear", max_iter=1000).fit(x, known)
                scores[:, :, c] = [model.decision_function(part) for part in (y, reversed_y)]
        order = score_inverse_pairs(scores[0], scores[1], labels[1], pairs)
        value = charades_map(scores[0], labels[1]).map
        measures = ["none" if m is None else f"{m:.4f}" for m in (order.accuracy, order.flips)]
        print(f"{name}  {value:.4f}  {order.cases}  {'  '.join(measures)}")


def _labels(column: dict[str, int], videos: list[AnnotatedScript]) -> np.ndarray:
    found = np.zeros((len(videos), len(column)), bool)
    for row, video in enumerate(videos):
        found[row, [column[c] for c in video.classes]] = True
    return found


def _features(
    video: AnnotatedScript,
    keep: np.ndarray,
    kinds: list[Callable[..., dict[str, float]]],
    *,
    reverse: bool = False,
) -> dict[str, float]:
    parts = [
        changes(video, keep, reverse=reverse) if kind is changes else kind(video, keep)
        for kind in kinds
    ]
    return {key: value for part in parts for key, value in part.items()}


def _matrix(rows: list[dict[str, float]], names: dict[str, int]) -> csr_matrix:
    found = [(i, names[k], v) for i, row in enumerate(rows) for k, v in row.items() if k in names]
    row, column, value = zip(*found, strict=True) if found else ((), (), ())
    return csr_matrix((value, (row, column)), shape=(len(rows), len(names)))


def _accuracy(
    train: list[AnnotatedScript],
    test: list[AnnotatedScript],
    positive: str,
    see: Callable[[AnnotatedScript], dict[str, float]],
) -> float:
    seen = [[see(t) for t in part] for part in (train, test)]
    names = sorted({name for features in seen[0] for name in features})
    x_train, x_test = (
        np.array([[f.get(n, 0.0) for n in names] for f in part], float) for part in seen
    )
    y_train, y_test = ([positive in t.classes for t in part] for part in (train, test))
    model = LogisticRegression(max_iter=2000, C=1.0, class_weight="balanced").fit(x_train, y_train)
    return float(balanced_accuracy_score(y_test, model.predict(x_test)))


def print_distributions(rules: Rules, videos: list[AnnotatedScript]) -> None:
    """Print statistics of the world, to compare with those in docs/world.md."""
    per_class = Counter(c for video in videos for c in video.classes)
    ordered = [n for _, n in per_class.most_common()]
    objects = Counter(o for video in videos for frame in video.frames for o in video.objects)
    predicates = Counter(
        p for video in videos for frame in video.frames for says in frame for p in says
    )
    num_frames = sum(len(video.frames) for video in videos)
    lasts = [a.end_s - a.start_s for video in videos for a in video.actions]
    length = [video.script.length_s for video in videos]
    print(f"\nvideos {len(videos)}, frames {num_frames}")
    print(f"length: mean {np.mean(length):.2f} s, {min(length):.2f} to {max(length):.2f} s")
    print(f"classes per video: mean {np.mean([len(t.classes) for t in videos]):.2f}")
    print(f"classes with a video: {len(per_class)} of {len(rules.actions)}")
    middle = np.median(ordered)
    print(f"videos per class: most {ordered[0]}, median {middle:.0f}, least {ordered[-1]}")
    tenth = sum(ordered[: max(len(ordered) // 10, 1)])
    print(f"share of labels in the most frequent tenth of classes: {tenth / sum(ordered):.3f}")
    print(f"duration of an action: mean {np.mean(lasts):.2f} s, median {np.median(lasts):.2f} s")
    print(f"annotated frames per video: {num_frames / len(videos):.1f}")
    print(f"objects per frame: {objects.total() / num_frames:.2f}")
    print(f"relations per frame: {predicates.total() / num_frames:.2f}")
    _print_shares("object", objects)
    _print_shares("predicate", predicates)


def _print_shares(what: str, counts: Counter[str]) -> None:
    rows = [f"{name} {100 * n / counts.total():.1f}" for name, n in counts.most_common()]
    print(f"{what} frequencies in % ({len(rows)} names): " + ", ".join(rows))


if __name__ == "__main__":
    run_command(main)
