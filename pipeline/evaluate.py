"""`python -m pipeline.evaluate`: compute mAP or mAR, and the number of kept tokens."""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.cache.clip_features import ClipFeatures
from pipeline.cache.folder import CacheInfo, LabelledVideo, read_cache_info
from pipeline.cache.listing import ClipEntry, is_held_out
from pipeline.config.loading import config_as_dict, load_config
from pipeline.config.schema import Branch, Config
from pipeline.errors import ItemError, UsageError
from pipeline.evaluation.evaluated_split import is_evaluated, rank_scores
from pipeline.evaluation.inverse_pairs import read_inverse_pairs, score_inverse_pairs
from pipeline.evaluation.results import RECALLS, clip_metrics, metrics_dict, write_tables
from pipeline.evaluation.scoring import KEEPS, Scores, score_clips
from pipeline.evaluation.temperature import calibration_errors
from pipeline.explanation.familiarity import load_familiarity, unfamiliar_share
from pipeline.runtime.command_line import VERIFY_HELP, common_parser, parse_words, run_command
from pipeline.runtime.devices import pick_device, use_threads
from pipeline.runtime.failures import Failures
from pipeline.runtime.files import file_sha256, make_folder, write_json
from pipeline.runtime.run_record import RunRecord
from pipeline.samples.clip_features import network_features
from pipeline.samples.dataset import clip_dataset
from pipeline.samples.folds import Fold, find_fold_of
from pipeline.samples.labels import check_single_label, clip_actions, with_known_labels
from pipeline.samples.listing import list_samples, no_samples
from pipeline.weights.detectors import RANDOM
from pipeline.weights.model_card import ModelCard
from pipeline.weights.run_folder import (
    CALIBRATION,
    FAMILIARITY,
    SETTINGS,
    WEIGHTS,
    load_calibration,
    load_model,
    read_card,
)

LOGGER = logging.getLogger("evaluate")
SPLITS = ("test", "train", "validation")
#: Metrics of a single-label network that the command prints first.
FIRST_REPORTED = ("mar", "accuracy")
#: Metrics of all networks that the command prints.
REPORTED = (
    "map_official",
    "map_tie_grouped",
    "wap_official",
    "num",
    "num_noise",
    "num_usable",
    "num_all",
)
#: Settings of `model` and `train` that can be changed after the training.
_CHANGEABLE = (
    "folds",
    "model.clip_features",
    "model.tolerance",
    "train.batch_size",
    "train.workers",
    "train.threads",
)
EXAMPLE = "python -m pipeline.evaluate --run runs/oracle --cache cache/oracle"


def main(argv: list[str]) -> int:
    """Run the stage and return its exit code."""
    args, words = _parse(argv)
    config = run_config(args.run, words)
    device = pick_device(config.device)
    info = read_cache_info(args.cache)
    model, card = load_model(args.run, device, tolerance=config.model.tolerance)
    check_fits(card, info, args.cache)
    out = args.out or args.run
    clips, videos, bad = _samples(args, config, card, info)
    make_folder(out, "--out")
    seed = int(card.training.get("seed", 0))
    record = RunRecord(out, stage="evaluate", config=config_as_dict(config), argv=argv, seed=seed)
    branch = "language" if config.branch is Branch.language else card.scored_branch
    features = None if branch == "language" else network_features(card, config)
    size, workers = config.train.batch_size, config.train.workers
    options: dict[str, Any] = {"batch_size": size, "workers": workers, "branch": branch}
    options |= {"multi_label": card.multi_label, "keep": args.keep}
    with record as run:
        run.extra["threads"] = use_threads(config.train.threads, card.settings.dim, device)
        run.counts.found = len(clips) + len(bad)
        pairs = _scored_pairs(config, card, features)

        def score(*, reverse: bool = False) -> Scores:
            share, reads = float(reverse), branch == "language"
            data = clip_dataset(
                card, clips, relations=reads, reversed_share=share, clip_features=features
            )
            label = f"evaluate {args.split}" + (", reversed" if reverse else "")
            return score_clips(model, data, device, bar=label, **options)

        found = score()
        Failures(out).replace(bad | found.failed, stage="evaluate", logger=LOGGER)
        run.counts.done, run.counts.failed = len(found.video_ids), len(bad) + len(found.failed)
        ranked, tested = rank_scores(found, videos, card, only_present=args.only_present)
        tree = metrics_dict(found, card, args.split, *ranked) | {"test_videos": tested}
        tree |= {"branch": branch, "keep": args.keep}
        arrays: dict[str, Any] = {}
        if pairs:
            again = score(reverse=True).scores
            order = score_inverse_pairs(found.scores, again, found.labels, pairs)
            tree["inverse_pairs"] = order.to_dict()
            arrays = {"reversed": again, "pairs": np.array(pairs)}
        if branch == "video":
            tree |= _reliability(args.run, card, found, clips)
        if features:
            tree["clip_features"] = clip_metrics(found, card, *ranked)
        tree["weights_sha256"] = file_sha256(args.run / WEIGHTS)
        random = str(card.cache.detector.get("weights")).startswith(RANDOM)
        if warnings := ["RANDOM_WEIGHTS"] * random + found.warnings:
            tree["warnings"] = run.extra["warnings"] = warnings
        write_json(out / "metrics.json", tree)
        write_tables(out, found, ranked, card, arrays)
    _report(tree, out)
    print(f"evaluate: {run.counts}")
    return run.exit_code


def _parse(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = common_parser("python -m pipeline.evaluate", __doc__ or "", EXAMPLE)
    parser.add_argument("--run", type=Path, required=True, help="run folder of pipeline.train")
    parser.add_argument("--cache", type=Path, required=True, help="cache of pipeline.extract")
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument(
        "--keep",
        choices=KEEPS,
        default=KEEPS[0],
        help="tokens of each video: those that the selectors keep, all, as many random ones, or a "
        "random half; other choices than the first require --out",
    )
    parser.add_argument(
        "--only-present",
        action="store_true",
        help="leave out test videos without a prediction; by default, they rank last in the mAP, "
        "as in the official evaluation, and are misses in the mAR",
    )
    parser.add_argument("--out", type=Path, help="output folder (default: --run)")
    parser.add_argument("--verify", action="store_true", help=VERIFY_HELP)
    args, words = parse_words(parser, argv)
    if args.keep != KEEPS[0] and args.out is None:
        raise UsageError(f"--out: another folder than --run expected with --keep {args.keep}")
    return args, words


def run_config(run: Path, words: Sequence[str]) -> Config:
    """Load the settings of a training run and apply `key=value` words.

    Args:
        run: run folder of the network.
        words: `key=value` words of the command line.

    Raises:
        UsageError: if the folder has no settings file, or a word changes a setting that is fixed by
            the trained network.
    """
    path = run / SETTINGS
    if not path.is_file():
        raise UsageError(
            f"--run: a folder written by pipeline.train expected, {run} has no {SETTINGS}; "
            "create one with: python -m pipeline.train --cache DIR --run DIR"
        )
    read_card(run)  # raises a clear error for runs of earlier versions
    for word in words:
        key = word.partition("=")[0]
        fixed = key.startswith(("model.", "loss.", "train.", "vocabulary", "classes", "fold"))
        if fixed and key not in _CHANGEABLE:
            raise UsageError(
                f"{word!r}: this setting is fixed by the network in {run}; train another network"
            )
    return load_config(path, words)


def check_fits(card: ModelCard, info: CacheInfo, cache: Path) -> None:
    """Check that a cache matches the classes, vocabulary, boxes and features of a network.

    Args:
        card: card of the network.
        info: description of the cache.
        cache: cache folder, used in error messages.

    Raises:
        UsageError: if a property of the cache differs from the card. The message names the first
            such property.
    """
    trained, found = card.cache.settings.features, info.settings.features
    if trained != found:
        raise UsageError(
            f"--cache: features={trained or 'detector'} expected as in training, {cache} has "
            f"features={found or 'detector'}"
        )
    wanted, there = card.cache.to_dict(), info.to_dict()
    for part in ("objects", "predicate_groups", "classes", "folds", "detector"):
        one, two = wanted.get(part, {}), there.get(part, {})
        if one != two:
            raise UsageError(
                f"--cache: {part!r} of {cache} differs from the training cache "
                f"({_first_difference(one, two)}); extract with the same {part}"
            )
    for key in ("boxes", "union", "pairs", "occluded"):
        trained, found = (getattr(each.settings, key) for each in (card.cache, info))
        if trained != found:
            raise UsageError(
                f"--cache: {key}={trained} expected as in training, {cache} has {key}={found}"
            )


def split_clips(
    cache: Path,
    split: str,
    fraction: float,
    *,
    info: CacheInfo | None = None,
    fold: Fold | None = None,
    verify: bool = False,
) -> tuple[list[ClipEntry], dict[str, ItemError]]:
    """List the labelled clips of a split.

    Args:
        cache: cache folder.
        split: `test`, `train` or `validation`.
        fraction: fraction of the training videos that form the split `validation`.
        info: description of the cache. If it lists test videos, other unusable clips do not count
            as test videos. In a fold, unusable clips of the other split do not count.
        fold: fold that determines the split, or None.
        verify: whether to compare every byte of the clips with the manifest.

    Returns:
        The clips, and a mapping from the video id of each unusable clip to its error.
    """

    tested = set[str]()
    if info and split == "test" and fold is None:
        tested = {video.id for video in info.test_videos}

    def belongs(video_id: str) -> bool:
        return split == "test" or is_held_out(video_id, fraction) == (split == "validation")

    part = "test" if split == "test" else "train"
    listed, bad = list_samples(cache, split=part, fold=fold, info=info, verify=verify)
    clips = [clip for clip in listed if belongs(clip.source_id)]
    mine = {name for name in bad if belongs(name) and (not tested or name in tested)}
    return clips, {name: error for name, error in bad.items() if name in mine}


def _samples(
    args: argparse.Namespace, config: Config, card: ModelCard, info: CacheInfo
) -> tuple[list[ClipEntry], Sequence[LabelledVideo], dict[str, ItemError]]:
    """Return the samples to evaluate, the labelled test videos, and the unusable clips."""
    fraction = float(card.training.get("validation_fraction", 0.0))
    fold = find_fold_of(config.fold, config.folds, info)
    _check_fold(card, fold)
    clips, bad = split_clips(
        args.cache, args.split, fraction, info=info, fold=fold, verify=args.verify
    )
    clips = with_known_labels(clips, card.columns, multi_label=card.multi_label)
    if not clips:
        raise no_samples(args.cache, args.split, fold, bad)
    return clips, _test_videos(info, args.split, card, clips, fold), bad


def _check_fold(card: ModelCard, fold: Fold | None) -> None:
    found = fold.sha256 if fold is not None and fold.videos is not None else None
    if card.training.get("fold_sha256") != found:
        raise UsageError(
            "folds: the training and test videos of the fold expected as in training, but the file "
            "lists others; give the file of the training as folds=FILE"
        )


def _test_videos(
    info: CacheInfo,
    split: str,
    card: ModelCard,
    clips: list[ClipEntry],
    fold: Fold | None,
) -> Sequence[LabelledVideo]:
    """Return the labelled test videos of the dataset or the fold; none for another split.

    Raises:
        UsageError: if a clip or a test video does not have exactly one action, for a single-label
            network.
    """
    videos = [v for v in info.test_videos if fold is None or fold.has("test", v.id, v.subject)]
    if split != "test":
        videos = []
    if not card.multi_label:
        tested = [(video.id, video.actions) for video in videos if is_evaluated(video, card)]
        check_single_label([*clip_actions(clips), *tested], card.columns)
    return videos


def _scored_pairs(
    config: Config, card: ModelCard, features: ClipFeatures | None
) -> list[tuple[int, int]]:
    """Return the inverse pairs to score; none with clip features."""
    pairs = read_inverse_pairs(config.inverse_pairs, [row[0] for row in card.classes])
    if not pairs:
        LOGGER.info("no inverse pair of %s is among the classes", config.inverse_pairs)
    elif features:
        LOGGER.info("inverse pairs are not scored, because a reversed video has no clip feature")
        return []
    return pairs


def _reliability(
    run: Path, card: ModelCard, found: Scores, clips: list[ClipEntry]
) -> dict[str, Any]:
    """Return the calibration error and the share of unfamiliar videos of a finished run."""
    if not all((run / name).is_file() for name in (CALIBRATION, FAMILIARITY)):
        return {}
    temperature = load_calibration(run, card)["scores"]["temperature"]
    return {
        "calibration": calibration_errors(
            found.logits, found.labels, temperature, multi_label=card.multi_label
        ),
        "unfamiliar": unfamiliar_share(load_familiarity(run, card), clip_dataset(card, clips)),
    }


def _report(tree: dict[str, Any], out: Path) -> None:
    rows = {name: tree[name] for name in (*FIRST_REPORTED, *REPORTED) if name in tree}
    tested = tree["test_videos"] or {}
    rows |= {f"test videos, {name}".replace("_", " "): value for name, value in tested.items()}
    order = tree.get("inverse_pairs", {})
    rows |= {f"inverse pairs, {name}": order[name] for name in ("accuracy", "flips") if order}
    errors = tree.get("calibration", {})
    rows |= {f"calibration, {name}": value for name, value in errors.items()}
    rows |= {name: tree[name] for name in ("unfamiliar",) if name in tree}
    clip = tree.get("clip_features", {})
    rows |= {f"relations alone, {k}": v for k, v in clip.get("relations_only", {}).items()}
    rows |= {"part of the logits from the clip": clip["logit_share"]} if clip else {}
    for name, value in rows.items():
        text = str(value) if isinstance(value, int) else "none" if value is None else f"{value:.4f}"
        print(f"{name:36} {text}")
    if "mar" in tree:
        print(f"recall per class: {out / RECALLS}")
    print(f"AP per class: {out / 'per_class_ap.csv'}")


def _first_difference(wanted: Any, there: Any) -> str:
    if isinstance(wanted, dict) and isinstance(there, dict):
        key = next(k for k in (wanted | there) if wanted.get(k) != there.get(k))
        return f"{key}: {str(wanted.get(key))[:40]} expected, got {str(there.get(key))[:40]}"
    if len(wanted) != len(there):
        return f"{len(wanted)} entries expected, got {len(there)}"
    pair = next((a, b) for a, b in zip(wanted, there, strict=True) if a != b)
    return f"{pair[0]} expected, got {pair[1]}"


if __name__ == "__main__":
    run_command(main)
