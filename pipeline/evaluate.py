"""`python -m pipeline.evaluate`: Charades mAP, kept tokens and a table per class."""

import io
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.cache.folder import CacheInfo, read_cache_info
from pipeline.config.schema import Config, config_as_dict, load_config
from pipeline.errors import UsageError
from pipeline.evaluation.metrics import MeanAveragePrecision, charades_map, tie_grouped_map
from pipeline.evaluation.scoring import Scores, score_clips
from pipeline.runtime.command_line import common_parser, parse_words, run_command
from pipeline.runtime.files import file_sha256, write_atomically, write_json
from pipeline.runtime.run_record import Failures, RunRecord
from pipeline.samples.dataset import ClipDataset, ClipEntry, is_held_out, list_clips
from pipeline.weights.detectors import RANDOM, pick_device
from pipeline.weights.run_folder import SETTINGS, WEIGHTS, ModelCard, load_model

LOGGER = logging.getLogger("evaluate")
METRICS_SCHEMA = "laiar.metrics/1"
SPLITS = ("test", "train", "validation")
EXAMPLE = "python -m pipeline.evaluate --run runs/oracle --cache cache/oracle"


def main(argv: list[str]) -> int:
    """Run the stage; returns its exit code."""
    parser = common_parser("python -m pipeline.evaluate", __doc__ or "", EXAMPLE)
    parser.add_argument("--run", type=Path, required=True, help="folder of pipeline.train")
    parser.add_argument("--cache", type=Path, required=True, help="folder of pipeline.extract")
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--out", type=Path, help="folder to write (default: --run)")
    args, words = parse_words(parser, argv)
    config = run_config(args.run, words)
    device = pick_device(config.device)
    info = read_cache_info(args.cache)
    model, card = load_model(args.run, device)
    check_fits(card, info, args.cache)
    out = args.out or args.run
    clips, bad = list_clips(args.cache)
    clips = [clip for clip in clips if in_split(clip, args.split, card)]
    if not clips:
        raise UsageError(
            f"--cache: labelled videos of the split {args.split!r} expected, {args.cache} has none"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise UsageError(f"--out: a writable folder expected, {out}: {problem}") from problem
    seed = int(card.training.get("seed", 0))
    record = RunRecord(out, stage="evaluate", config=config_as_dict(config), argv=argv, seed=seed)
    with record as run:
        run.counts.found = len(clips) + len(bad)
        settings = card.settings
        data = ClipDataset(
            clips,
            len(card.cache.classes),
            num_frames=settings.num_frames,
            max_pairs=settings.max_pairs,
        )
        sizes = {"batch_size": config.train.batch_size, "workers": config.train.workers}
        found = score_clips(model, data, device, bar=f"evaluate {args.split}", **sizes)
        failures = Failures(out)
        failures.keep_only(set(bad) | set(found.failed))
        for video_id, error in (bad | found.failed).items():
            LOGGER.error("%s failed: %s: %s", video_id, error.reason.value, error)
            failures.add(video_id, error, stage="evaluate", sha256="", settings="")
        run.counts.done, run.counts.failed = len(found.video_ids), len(bad) + len(found.failed)
        tree = metrics_dict(found, card, args.split)
        tree["weights_sha256"] = file_sha256(args.run / WEIGHTS)
        if str(card.cache.detector.get("weights")).startswith(RANDOM):
            tree["warnings"] = run.extra["warnings"] = ["RANDOM_WEIGHTS"]
        write_json(out / "metrics.json", tree)
        _write_tables(out, found, card.cache.classes)
    _report(tree, out)
    print(f"evaluate: {run.counts}")
    return run.exit_code


def run_config(run: Path, words: Sequence[str]) -> Config:
    """The configuration a network was trained with, and what the command line changes.

    Raises:
        UsageError: if the run has none, or for a setting that the network determines.
    """
    path = run / SETTINGS
    if not path.is_file():
        raise UsageError(
            f"--run: a folder written by pipeline.train expected, {run} has no {SETTINGS}; "
            "run: python -m pipeline.train --cache DIR --run DIR"
        )
    for word in words:
        if word.startswith(("model.", "loss.", "vocabulary=")):
            raise UsageError(f"{word!r}: the network in {run} determines this; train another")
    return load_config(path, words)


def check_fits(card: ModelCard, info: CacheInfo, cache: Path) -> None:
    """Refuse a cache of other classes, words, boxes or features than the network's.

    Raises:
        UsageError: naming the first that differs.
    """
    wanted, there = card.cache.to_dict(), info.to_dict()
    for part in ("objects", "predicate_groups", "classes", "detector"):
        if wanted[part] != there[part]:
            raise UsageError(
                f"--cache: the {part} the network was trained on expected, {cache} has others "
                f"({_first_difference(wanted[part], there[part])}); extract with the same"
            )
    for key, default in (("boxes", None), ("union", "full")):
        trained, found = (tree["settings"].get(key, default) for tree in (wanted, there))
        if trained != found:
            raise UsageError(
                f"--cache: {key}={trained} expected, as in training, {cache} has {key}={found}"
            )


def in_split(clip: ClipEntry, split: str, card: ModelCard) -> bool:
    """Whether a labelled clip belongs to a split; `validation` is the held-out part of `train`."""
    if clip.header.actions is None or clip.header.split is None:
        return False
    if split == "test":
        return clip.header.split == "test"
    fraction = float(card.training.get("validation_fraction", 0.0))
    held_out = is_held_out(clip.video_id, fraction)
    return clip.header.split == "train" and held_out == (split == "validation")


def metrics_dict(found: Scores, card: ModelCard, split: str) -> dict[str, Any]:
    """All metrics as JSON; a mean over nothing is None."""
    official = charades_map(found.scores, found.labels)
    grouped = tie_grouped_map(found.scores, found.labels)
    return {
        "schema": METRICS_SCHEMA,
        "split": split,
        "videos": len(found.video_ids),
        "failed": len(found.failed),
        "classes": len(card.cache.classes),
        "classes_without_positives": official.num_skipped,
        "map_official": _number(official.map),
        "map_tie_grouped": _number(grouped.map),
        "wap_official": _number(official.weighted),
        "num": _mean(found.kept),
        "num_all": _mean(found.tokens),
        "empty_selections": int((found.kept == 0).sum()),
        "preset": card.settings.preset,
        "boxes": card.cache.settings.get("boxes"),
        "relations_in_training": card.relations,
    }


def _write_tables(out: Path, found: Scores, classes: tuple[tuple[str, str], ...]) -> None:
    official: MeanAveragePrecision = charades_map(found.scores, found.labels)
    grouped = tie_grouped_map(found.scores, found.labels)
    table = pd.DataFrame(
        {
            "class_id": [row[0] for row in classes],
            "name": [row[1] for row in classes],
            "positives": official.num_positives,
            "ap": official.ap,
            "ap_tie_grouped": grouped.ap,
        }
    )
    text = table.to_csv(index=False, na_rep="", float_format="%.6f")
    write_atomically(out / "per_class_ap.csv", text.encode())
    buffer = io.BytesIO()
    ids = np.array(found.video_ids, dtype=np.str_)
    np.savez(buffer, scores=found.scores, labels=found.labels, ids=ids)
    write_atomically(out / "scores.npz", buffer.getvalue())


def _report(tree: dict[str, Any], out: Path) -> None:
    for name in ("map_official", "map_tie_grouped", "wap_official", "num", "num_all"):
        value = tree[name]
        print(f"{name:16} {'none' if value is None else f'{value:.4f}'}")
    print(f"per class: {out / 'per_class_ap.csv'}")


def _first_difference(wanted: Any, there: Any) -> str:
    if isinstance(wanted, dict) and isinstance(there, dict):
        key = next(k for k in (wanted | there) if wanted.get(k) != there.get(k))
        return f"{key}: {str(wanted.get(key))[:40]} against {str(there.get(key))[:40]}"
    if len(wanted) != len(there):
        return f"{len(wanted)} against {len(there)}"
    pair = next((a, b) for a, b in zip(wanted, there, strict=True) if a != b)
    return f"{pair[0]} against {pair[1]}"


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


if __name__ == "__main__":
    run_command(main)
