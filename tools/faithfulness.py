"""`python -m tools.faithfulness --run DIR --cache DIR`: test the reasons of a network.

The command explains every action with a score of at least predict.threshold. It prints, and writes
to `faithfulness.json` and `faithfulness.md`, how much of the score the tokens of a reason keep, how
much their absence costs, and whether discarded tokens change a score. With the annotations of the
synthetic world, it also compares the reasons with the causes of the actions (sentence truth).
"""

import logging
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from pipeline.cache.folder import read_cache_info
from pipeline.errors import ItemError, UsageError
from pipeline.evaluate import SPLITS, check_fits, run_config, split_clips
from pipeline.explanation.sentences import sentence_of
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
from pipeline.samples.dataset import clip_dataset
from pipeline.weights.run_folder import load_bank, load_calibration, load_model
from tools.proofs.faithfulness.causes import Cause, SampledTimes, best_faults, find_causes
from tools.proofs.faithfulness.clips import ExplainedClip, Network, explain_clip
from tools.proofs.faithfulness.interventions import (
    discard_change,
    edit_scores,
    extra_tokens,
    name_scores,
    order_scores,
    reason_scores,
)
from tools.proofs.faithfulness.readers import (
    annotation_reader,
    best_contribution,
    random_transition,
)
from tools.proofs.faithfulness.summary import mean_with_interval
from tools.world.rules import Rules, load_rules
from tools.world.script import Script
from tools.world.true_relations import frame_times, read_scripts, true_relations

LOGGER = logging.getLogger("faithfulness")
SCHEMA = "laiar.faithfulness/1"
#: Number of videos, and largest number of their kept tokens, for which all small sets are searched.
SAMPLE, MOST_TOKENS = 30, 24
EXAMPLE = (
    "python -m tools.faithfulness --run runs/world --cache cache/world "
    "--annotations world/annotations --out faithfulness"
)


def main(argv: list[str]) -> int:
    """Run the command and return the exit code."""
    parser = common_parser(
        "python -m tools.faithfulness", __doc__ or "", EXAMPLE, has_settings=False
    )
    parser.add_argument("--run", type=Path, required=True, help="run folder of pipeline.train")
    parser.add_argument("--cache", type=Path, required=True, help="cache of pipeline.extract")
    parser.add_argument(
        "--annotations", type=Path, help="folder `annotations` of tools.synthesize (optional)"
    )
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--out", type=Path, required=True, help="output folder")
    parser.add_argument("--limit", type=int, help="number of videos (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--verify", action="store_true", help=VERIFY_HELP)
    args, _ = parse_words(parser, argv)
    if args.seed < 0 or (args.limit is not None and args.limit < 1):
        raise UsageError("--seed of at least 0 and --limit of at least 1 expected")
    device, info = pick_device(args.device), read_cache_info(args.cache)
    model, card = load_model(args.run, device)
    check_fits(card, info, args.cache)
    if card.scored_branch == "language":
        raise UsageError(
            f"--run: {args.run} was trained with branch=language; reasons require the video branch"
        )
    bank, calibration = load_bank(args.run, card), load_calibration(args.run, card)
    network = Network(model, card, bank, calibration, device)
    fraction = float(card.training.get("validation_fraction", 0.0))
    clips, failed = split_clips(args.cache, args.split, fraction, verify=args.verify)
    clips = clips[: args.limit]
    if not clips:
        raise UsageError(
            f"--cache: {args.cache} contains no labelled videos of the split {args.split!r}"
        )
    rules = load_rules()
    scripts = None
    if args.annotations:
        scripts = read_scripts(args.annotations, rules, [clip.video_id for clip in clips])
    study = Study(network, rules, run_config(args.run, []).predict.threshold, args.seed)
    data = clip_dataset(card, clips)
    for entry in tqdm(clips, desc="reasons", unit="video", disable=None):
        try:
            clip = data.read(entry)
        except ItemError as error:
            failed[entry.video_id] = error
            continue
        study.add(clip, scripts[entry.video_id] if scripts else None)
    tree = {"schema": SCHEMA, "split": args.split, "seed": args.seed, "failed": len(failed)}
    tree |= study.result()
    args.out.mkdir(parents=True, exist_ok=True)
    write_json(args.out / "faithfulness.json", tree)
    text = as_markdown(tree)
    write_atomically(args.out / "faithfulness.md", text.encode())
    print(text)
    for video_id, failure in failed.items():
        log_failure(LOGGER, video_id, failure)
    return EXIT_FAILURES if failed else EXIT_OK


class Study:
    """Measurements of the reasons of many clips.

    Args:
        network: the network.
        rules: contents of configs/world/.
        threshold: smallest score of an explained action.
        seed: seed of the random subsets, orders and transitions.
    """

    def __init__(self, network: Network, rules: Rules, threshold: float, seed: int) -> None:
        self.network, self.rules, self.threshold, self.seed = network, rules, threshold, seed
        self.values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self.kinds: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.sentences: list[dict[str, Any]] = []
        self.videos = self.without_tokens = 0

    def add(self, clip: Any, script: Script | None) -> None:
        """Measure the reasons of one clip. With a script, compare them with the causes."""
        found = explain_clip(self.network, clip, self.threshold)
        video_id = clip.video_id
        rng = np.random.default_rng([self.seed, self.videos])
        self.videos += 1
        self.without_tokens += not found.tokens.kept
        self._note(video_id, "discard invariance", discard_change(self.network, found, self.seed))
        for action, reason in found.reasons.items():
            self.kinds[reason["kind"]] += 1
            if reason["tokens"]:
                self._note(video_id, "tokens of a reason", len(reason["tokens"]))
                scores = reason_scores(found, action, rng) | order_scores(found, action, rng)
                scores |= edit_scores(found, action, rng)
                for name, value in scores.items():
                    self._note(video_id, name.replace("_", ", "), value)
        if self.videos <= SAMPLE and len(found.tokens.kept) <= MOST_TOKENS:
            for extra in extra_tokens(found):
                self._note(video_id, "tokens more than the smallest set", extra)
        for name, changes in name_scores(self.network.bank, found, rng).items():
            for value in changes:
                self._note(video_id, name.replace("_", ", "), value)
        if script is not None:
            self._compare(found, script)

    def _note(self, video_id: str, name: str, value: float) -> None:
        self.values[name][video_id].append(value)

    def _compare(self, clip: ExplainedClip, script: Script) -> None:
        ids = [class_id for class_id, _ in self.network.card.cache.classes]
        header, video_id = clip.clip.header, clip.clip.video_id
        all_times = frame_times(script, header.source)
        times = SampledTimes(
            tuple(clip.clip.timestamps_s.tolist()),
            tuple(all_times[i] for i in clip.clip.frame_index.tolist()),
        )
        truth = true_relations(self.rules, script, clip.clip, clip.clip_tokens)
        by_class: dict[str, list[Cause]] = defaultdict(list)
        for cause in find_causes(self.rules, script):
            by_class[cause.class_id].append(cause)
        for action in sorted(clip.labels):
            causes = by_class[ids[action]]
            self._note(video_id, "covered", action in clip.reasons)
            if action not in clip.reasons or not causes:
                continue
            reason = clip.reasons[action]
            faults = best_faults(reason, causes, times)
            kind = causes[0].kind
            others = {
                "": faults,
                ", random transition": best_faults(
                    random_transition(clip, f"{self.seed}/{video_id}/{action}"), causes, times
                ),
                ", largest contribution": best_faults(
                    best_contribution(clip, action), causes, times
                ),
                ", rules on true relations": best_faults(
                    annotation_reader(clip, truth, self.rules, ids[action]), causes, times
                ),
            }
            for name, wrong in others.items():
                self._note(video_id, f"sentence truth{name}", not wrong)
            self._note(video_id, f"sentence truth, causes that are {kind}", not faults)
            if faults:
                self.faults[f"{kind}: {' + '.join(faults)}"] += 1
            name = self.network.card.cache.classes[action][1]
            said = sentence_of(name, clip.scores[action], reason, clip.tokens.rows)
            self.sentences.append(
                {"video": video_id, "sentence": said, "faults": [*faults], "cause": causes[0].rule}
            )

    def result(self) -> dict[str, Any]:
        """Return the results as JSON."""
        rng = np.random.default_rng(self.seed)
        order = rng.permutation(len(self.sentences))[:6].tolist()
        return {
            "videos": self.videos,
            "videos_without_kept_tokens": self.without_tokens,
            "reasons": dict(self.kinds),
            "metrics": {name: mean_with_interval(rows) for name, rows in self.values.items()},
            "faults": dict(self.faults.most_common()),
            "sentences": [self.sentences[i] for i in order],
        }


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
            mean, span = f"{row['mean']:.4f}", f"{row['low']:.4f} to {row['high']:.4f}"
        lines.append(f"| {name} | {mean} | {span} | {row['count']} | {row['videos']} |")
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
