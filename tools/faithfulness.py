"""`python -m tools.faithfulness --run DIR --cache DIR`: test the reasons of a network.

The command explains every action with a score of at least predict.threshold. It prints, and writes
to `faithfulness.json` and `faithfulness.md`, how much of the score the tokens of a reason keep, how
much their absence costs, and whether discarded tokens change a score. With annotations, it also
compares the reasons with the objects and intervals of the actions, and in the synthetic world with
their causes (sentence truth). With a second cache, it measures the stability of the reasons.
docs/reasons.md defines the metrics.
"""

import argparse
import logging
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipeline.cache.clip import CachedClip
from pipeline.cache.folder import read_cache_info
from pipeline.cache.listing import ClipEntry
from pipeline.config.schema import Config
from pipeline.errors import ItemError, UsageError
from pipeline.evaluate import SPLITS, check_fits, run_config, split_clips
from pipeline.evaluation.inverse_pairs import read_inverse_pairs
from pipeline.explanation.explained_clip import Network
from pipeline.runtime.command_line import (
    EXIT_FAILURES,
    EXIT_OK,
    VERIFY_HELP,
    common_parser,
    parse_words,
    run_command,
)
from pipeline.runtime.devices import pick_device
from pipeline.runtime.failures import log_failure
from pipeline.runtime.files import write_atomically, write_json
from pipeline.samples.dataset import ClipDataset, clip_dataset
from pipeline.samples.folds import find_fold_of
from pipeline.samples.listing import no_samples
from pipeline.weights.model_card import ModelCard
from pipeline.weights.run_folder import load_bank, load_calibration, load_laiar
from tools.proofs.faithfulness.annotations import read_annotations
from tools.proofs.faithfulness.study import Study

LOGGER = logging.getLogger("faithfulness")
SCHEMA = "laiar.faithfulness/1"
#: Videos that are not in the second cache.
WITHOUT_OTHER = "stability: video not in --other"
EXAMPLE = (
    "python -m tools.faithfulness --run runs/world --cache cache/world "
    "--annotations world/annotations --out faithfulness"
)


def main(argv: list[str]) -> int:
    """Run the command and return the exit code."""
    args = _parse(argv)
    device, info = pick_device(args.device), read_cache_info(args.cache)
    model, card = load_laiar(args.run, device)
    check_fits(card, info, args.cache)
    if card.scored_branch == "language":
        raise UsageError(
            f"--run: {args.run} was trained with branch=language; reasons require the video branch"
        )
    bank, calibration = load_bank(args.run, card), load_calibration(args.run, card)
    network = Network(model, card, bank, calibration, device, keeps_all=args.keep == "all")
    fraction = float(card.training.get("validation_fraction", 0.0))
    config = run_config(args.run, [])
    fold = find_fold_of(config.fold, config.folds, info)
    clips, failed = split_clips(
        args.cache, args.split, fraction, info=info, fold=fold, verify=args.verify
    )
    clips = clips[: args.limit]
    if not clips:
        raise no_samples(args.cache, args.split, fold, failed)
    others, unusable = _other_clips(args, card, fraction, config)
    failed |= {c.video_id: unusable[c.video_id] for c in clips if c.video_id in unusable}
    annotations = read_annotations(args.annotations, card, [clip.video_id for clip in clips])
    pairs = read_inverse_pairs(config.inverse_pairs, [row[0] for row in card.classes])
    if args.truth and annotations.scripts is None:
        raise UsageError(
            "--annotations: the annotations of a world of tools.synthesize expected with --truth"
        )
    study = Study(
        network,
        annotations,
        config.predict.threshold,
        args.seed,
        pairs=pairs,
        only_truth=args.truth,
    )
    data = clip_dataset(card, clips)
    for entry in tqdm(clips, desc="reasons", unit="video", disable=None):
        clip = _read(data, entry, failed)
        if clip is None:
            continue
        other = others.get(entry.video_id)
        if args.other and other is None and entry.video_id not in unusable:
            study.left_out[WITHOUT_OTHER] += 1
        study.add(clip, None if other is None else _read(data, other, failed))
    tree = {
        "schema": SCHEMA,
        "split": args.split,
        "seed": args.seed,
        "keep": args.keep,
        "failed": len(failed),
    } | study.result()
    args.out.mkdir(parents=True, exist_ok=True)
    write_json(args.out / "faithfulness.json", tree)
    text = as_markdown(tree)
    write_atomically(args.out / "faithfulness.md", text.encode())
    print(text)
    for video_id, failure in failed.items():
        log_failure(LOGGER, video_id, failure)
    return EXIT_FAILURES if failed else EXIT_OK


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = common_parser(
        "python -m tools.faithfulness", __doc__ or "", EXAMPLE, has_settings=False
    )
    parser.add_argument("--run", type=Path, required=True, help="run folder of pipeline.train")
    parser.add_argument("--cache", type=Path, required=True, help="cache of pipeline.extract")
    parser.add_argument(
        "--annotations",
        type=Path,
        help="annotation folder of Charades, or of a world of tools.synthesize in its form; not of "
        "CAD-120 (optional)",
    )
    parser.add_argument(
        "--other",
        type=Path,
        help="second cache of the same videos, for example of re-encoded videos or of other "
        "frames (optional)",
    )
    parser.add_argument(
        "--keep",
        choices=("selected", "all"),
        default="selected",
        help="tokens of each video: those that the selectors keep (default), or all",
    )
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--out", type=Path, required=True, help="output folder")
    parser.add_argument("--limit", type=int, help="number of videos (default: all)")
    parser.add_argument(
        "--truth",
        action="store_true",
        help="measure only whether names and sentences are true, which is faster",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--verify", action="store_true", help=VERIFY_HELP)
    args, _ = parse_words(parser, argv)
    if args.seed < 0 or (args.limit is not None and args.limit < 1):
        raise UsageError("--seed of at least 0 and --limit of at least 1 expected")
    return args


def _other_clips(
    args: argparse.Namespace, card: ModelCard, fraction: float, config: Config
) -> tuple[dict[str, ClipEntry], dict[str, ItemError]]:
    """Return the clips of the second cache, and the errors of unusable clips, by video id."""
    if args.other is None:
        return {}, {}
    info = read_cache_info(args.other)
    check_fits(card, info, args.other)
    fold = find_fold_of(config.fold, config.folds, info)
    clips, failed = split_clips(
        args.other, args.split, fraction, info=info, fold=fold, verify=args.verify
    )
    return {clip.video_id: clip for clip in clips}, failed


def _read(data: ClipDataset, entry: ClipEntry, failed: dict[str, ItemError]) -> CachedClip | None:
    """Read the sampled frames of a clip, or add its error to `failed` and return None."""
    try:
        return data.read(entry)
    except ItemError as error:
        failed[entry.video_id] = error
        return None


def as_markdown(tree: dict[str, Any]) -> str:
    """Return the results as Markdown tables."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(tree["reasons"].items()))
    lines = [
        f"{tree['videos']} videos, {tree['videos_without_kept_tokens']} of them without a kept "
        f"token; reasons: {kinds or 'none'}",
        "",
        "| metric | mean | 95 % interval | values | videos |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, row in tree["metrics"].items():
        mean, span = "none", "none"
        if row["mean"] is not None:
            mean = f"{row['mean']:.4f}"
        if row["low"] is not None:
            span = f"{row['low']:.4f} to {row['high']:.4f}"
        lines.append(f"| {name} | {mean} | {span} | {row['count']} | {row['videos']} |")
    if tree["left_out"]:
        lines += ["", "| left out | count |", "| --- | --- |"]
        lines += [f"| {name} | {count} |" for name, count in tree["left_out"].items()]
    if tree["faults"]:
        lines += ["", "| faults of wrong reasons | count |", "| --- | --- |"]
        lines += [f"| {name} | {count} |" for name, count in tree["faults"].items()]
    if tree["sentences"]:
        lines += ["", "| video | sentence | verdict |", "| --- | --- | --- |"]
        for row in tree["sentences"]:
            verdict = "wrong: " + ", ".join(row["faults"]) if row["faults"] else "true"
            lines.append(f"| {row['video']} | {row['sentence']} | {verdict} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run_command(main)
