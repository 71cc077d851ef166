"""`python -m tools.evaluate_names`: measure the names and the tracks of tokens of the world.

The truth of a token is the state of its object in the script of the video, not an annotation. A
name is right if it is one of the true predicates. A link between two consecutive tokens of a track
is right if both tokens show the same object. Without --run, only links are measured, on all cached
frames and pairs.
"""

import itertools
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from model.label_bank import LabelBank
from model.laiar import LaIAR
from model.tokens import TokenBatch
from pipeline.cache.folder import CacheInfo, read_cache_info
from pipeline.errors import ItemError, UsageError
from pipeline.evaluate import SPLITS, check_fits, split_clips
from pipeline.evaluation.names import (
    STATUSES,
    TokenNames,
    count_links,
    score_names,
    share_of,
)
from pipeline.explanation.naming import status_of
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
from pipeline.runtime.files import write_json
from pipeline.samples.clip_tokens import clip_tokens, collate_tokens
from pipeline.samples.dataset import ClipDataset, clip_dataset
from pipeline.weights.model_card import ModelCard
from pipeline.weights.run_folder import load_bank, load_calibration, load_laiar
from tools.evaluate_relations import check_writable
from tools.world.rules import Rules, load_rules
from tools.world.script import Script
from tools.world.true_relations import Truth, read_scripts, true_relations

LOGGER = logging.getLogger("evaluate_names")
SCHEMA = "laiar.names/1"
EXAMPLE = (
    "python -m tools.evaluate_names --run runs/world --cache cache/world --world world/annotations"
)


@dataclass(frozen=True)
class Namer:
    """Trained network that names tokens.

    Attributes:
        model: network in eval mode on `device`.
        bank: label bank of the network.
        thresholds: threshold of the margin of each predicate group, or None; see `status_of`.
        device: device of the network.
    """

    model: LaIAR
    bank: LabelBank
    thresholds: tuple[float | None, ...]
    device: torch.device


@dataclass(frozen=True)
class ClipTruth:
    """Tokens of one clip with their truth.

    Attributes:
        classes: object class of each thread of the script.
        batch: tokens of the clip.
        truth: true objects and predicates of the tokens.
    """

    classes: tuple[str, ...]
    batch: TokenBatch
    truth: Truth


def main(argv: list[str]) -> int:
    """Run the command and return the exit code."""
    prog = "python -m tools.evaluate_names"
    parser = common_parser(prog, __doc__ or "", EXAMPLE, has_settings=False)
    parser.add_argument("--run", type=Path, help="run folder of pipeline.train")
    parser.add_argument("--cache", type=Path, required=True, help="cache of pipeline.extract")
    parser.add_argument(
        "--world", type=Path, required=True, help="folder `annotations` of tools.synthesize"
    )
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--out", type=Path, help="output file (default with --run: RUN/names.json)")
    parser.add_argument("--batch-size", type=int, default=16, help="number of videos per batch")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--verify", action="store_true", help=VERIFY_HELP)
    args, _ = parse_words(parser, argv)
    if args.batch_size < 1:
        raise UsageError(f"--batch-size: at least 1 expected, got {args.batch_size}")
    device, info, rules = pick_device(args.device), read_cache_info(args.cache), load_rules()
    check_vocabulary(info, rules, args.cache)
    namer, card = load_namer(args.run, info, args.cache, device) if args.run else (None, None)
    out = args.out or (args.run / "names.json" if args.run else None)
    check_writable(out, "--out")
    fraction = float(card.training.get("validation_fraction", 0.0)) if card else 0.0
    clips, failed = split_clips(args.cache, args.split, fraction, verify=args.verify)
    if not clips:
        raise UsageError(
            f"--cache: {args.cache} contains no labelled videos of the split {args.split!r}"
        )
    scripts = read_scripts(args.world, rules, [clip.video_id for clip in clips])
    data = (
        clip_dataset(card, clips)
        if card
        else ClipDataset(clips, len(info.classes), num_frames=10**6, max_pairs=10**6)
    )
    found = read_truths(data, rules, scripts, failed)
    tree = measure(found, namer, info.predicate_groups, args.batch_size)
    tree = {"schema": SCHEMA, "split": args.split, "failed": len(failed)} | tree
    for video_id, error in failed.items():
        log_failure(LOGGER, video_id, error)
    if out:
        write_json(out, tree)
    print_table(tree)
    return EXIT_FAILURES if failed else EXIT_OK


def load_namer(
    run: Path, info: CacheInfo, cache: Path, device: torch.device
) -> tuple[Namer, ModelCard]:
    """Load the network, the label bank and the calibration of a run.

    Raises:
        UsageError: if a file is missing or damaged, or the network does not fit the cache.
    """
    model, card = load_laiar(run, device)
    check_fits(card, info, cache)
    if card.scored_branch == "language":
        raise UsageError(
            f"--run: {run} was trained with branch=language; names require the video branch"
        )
    bank, known = load_bank(run, card), load_calibration(run, card)["groups"]
    thresholds = tuple(known.get(group, {}).get("threshold") for group in info.predicate_groups)
    return Namer(model, bank, thresholds, device), card


def check_vocabulary(info: CacheInfo, rules: Rules, cache: Path) -> None:
    """Check that a cache has the object classes and predicates of the synthetic world.

    Raises:
        UsageError: if they differ.
    """
    wanted = rules.vocabulary
    if (info.objects, info.predicate_groups) != (wanted.objects, wanted.predicate_groups):
        raise UsageError(
            f"--cache: a cache of the synthetic world expected, but {cache} has other object "
            "classes or predicates"
        )


def read_truths(
    data: ClipDataset, rules: Rules, scripts: dict[str, Script], failed: dict[str, ItemError]
) -> Iterator[ClipTruth]:
    """Read the sampled frames of each clip and find the truth of its tokens.

    Args:
        data: clips to read.
        rules: contents of configs/world/.
        scripts: script of each video.
        failed: dict to which the errors of unreadable clips are added.
    """
    for entry in tqdm(data.clips, desc="truth", unit="video", disable=None):
        script = scripts[entry.video_id]
        try:
            clip = data.read(entry)
        except ItemError as error:
            failed[entry.video_id] = error
            continue
        tokens = clip_tokens(clip, data.max_pairs)
        classes = tuple(thread.object for thread in script.threads)
        yield ClipTruth(classes, tokens.batch, true_relations(rules, script, clip, tokens))


def measure(
    clips: Iterator[ClipTruth],
    namer: Namer | None,
    groups: dict[str, tuple[str, ...]],
    batch_size: int,
) -> dict[str, Any]:
    """Measure links, and names if there is a network.

    Args:
        clips: tokens of the clips with their truth.
        namer: network that names the tokens, or None.
        groups: names of the predicates of each group.
        batch_size: number of clips per batch of the network.

    Returns:
        JSON tree of the results.
    """
    links: Counter[tuple[str, bool]] = Counter()
    truths: list[Truth] = []
    named: list[TokenNames] = []
    videos = 0
    while part := list(itertools.islice(clips, batch_size)):
        videos += len(part)
        for clip in part:
            links += count_links(clip.classes, clip.batch.tracks, clip.truth.threads)
            truths.append(clip.truth)
        if namer:
            named.append(name_tokens(namer, collate_tokens([clip.batch for clip in part])))
    threads = torch.cat([truth.threads for truth in truths]) if truths else torch.zeros(0)
    tree = {
        "videos": videos,
        "tokens": len(threads),
        "tokens_without_truth": int((threads < 0).sum()),
        "links": {
            where: {
                "count": links[where, True] + links[where, False],
                "right": share_of(links[where, True], links[where, True] + links[where, False]),
            }
            for where in ("all", "clips_with_repeated_class", "repeated_class")
        },
    }
    if not named:
        return tree
    true = torch.cat([truth.predicates for truth in truths])
    columns = zip(*(vars(names).values() for names in named), strict=True)
    sizes = {group: len(names) for group, names in groups.items()}
    return tree | score_names(TokenNames(*map(torch.cat, columns)), true, sizes)


def name_tokens(namer: Namer, batch: TokenBatch) -> TokenNames:
    """Name the tokens of a batch with the video branch and the label bank."""
    with torch.inference_mode():
        batch = batch.to(namer.device)
        output = namer.model.recognize(batch, keep=batch.mask)  # no selection is needed
        embeddings = output.embeddings[batch.mask]
        names = namer.bank.name(embeddings, batch.pairs)
    status = torch.zeros(len(embeddings), len(names), dtype=torch.int64)
    for g, (group, threshold) in enumerate(zip(names, namer.thresholds, strict=True)):
        rows = zip(group.predicate.tolist(), group.margin.tolist(), strict=True)
        for token, (predicate, margin) in enumerate(rows):
            status[token, g] = STATUSES.index(status_of(predicate, margin, threshold))
    said = torch.cat([group.said for group in names], 1)
    shown = torch.stack([group.predicate for group in names], 1)
    return TokenNames(said.cpu(), shown.cpu(), status)


def print_table(tree: dict[str, Any]) -> None:
    """Print the results of `measure`."""
    print(
        f"{tree['videos']} videos, {tree['tokens']} tokens, "
        f"{tree['tokens_without_truth']} of them without a true object"
    )
    print(f"{'links':26} {'count':>7} {'right':>7}")
    for where, row in tree["links"].items():
        print(f"{where.replace('_', ' '):26} {row['count']:7d} {_text(row['right'])}")
    if "groups" not in tree:
        return
    heads = ("right", "exact", "recall", *(f"{name}, right" for name in STATUSES[:2]), STATUSES[2])
    first = " ".join(f"{head:>7}" for head in heads[:3])
    print(f"{'names':11} {'tokens':>7} {first}  " + "  ".join(heads[3:]))
    for group, row in tree["groups"].items():
        status = row["status"]
        cells = "  ".join(
            f"{_text(status[name]['share'])} {_text(status[name]['right']):>8}"
            for name in STATUSES[:2]
        )
        print(
            f"{group:11} {row['tokens']:7d} {_text(row['right'])} {_text(row['exact'])} "
            f"{_text(row['macro_recall'])}  "
            f"{cells}  {_text(status['unknown']['share'])}"
        )
    both = tree["all_groups"]
    print(f"{'all groups':11} {both['tokens']:7d} {_text(both['right'])} {_text(both['exact'])}")
    for name, row in tree["all_names"].items():
        print(f"{name + ' names':17} share {_text(row['share'])}, right {_text(row['right'])}")


def _text(value: float | None) -> str:
    return f"{'none':>7}" if value is None else f"{value:7.4f}"


if __name__ == "__main__":
    run_command(main)
