"""`python -m tools.study_world`: compute statistics of the annotations of the synthetic world.

The first table compares two classifiers on videos with exactly one class of an inverse pair. One
classifier uses the relations of a video, and the other uses the changes of these relations. The
second part lists statistics of classes, objects, predicates and durations, for comparison with
Charades and Action Genome.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score

from pipeline.errors import UsageError
from pipeline.runtime.command_line import EXIT_OK, common_parser, parse_words, run_command
from tools.world.film import annotated_ordinals, frame_ticks
from tools.world.labels import Action, find_actions
from tools.world.plot import write_script
from tools.world.rules import Rules, load_rules
from tools.world.script import Script, Settings

EXAMPLE = "python -m tools.study_world --train 4000 --test 2000 --seed 0"
_LEAST_VIDEOS = 20


@dataclass(frozen=True)
class Told:
    """Annotations of a video that is not rendered.

    Attributes:
        script: script of the video.
        actions: actions in the video.
        frames: one dict per annotated frame, from object class to its predicates.
    """

    script: Script
    actions: list[Action]
    frames: list[dict[str, frozenset[str]]]

    @property
    def classes(self) -> set[str]:
        """Ids of the action classes in the video."""
        return {action.id for action in self.actions}


def main(argv: list[str]) -> int:
    """Print the tables and return the exit code."""
    prog = "python -m tools.study_world"
    parser = common_parser(prog, __doc__ or "", EXAMPLE, has_settings=False)
    parser.add_argument("--train", type=int, default=4000, help="number of training videos")
    parser.add_argument("--test", type=int, default=2000, help="number of test videos")
    parser.add_argument("--seed", type=int, default=0)
    args, _ = parse_words(parser, argv)
    if min(args.train, args.test) < 1 or args.seed < 0:
        raise UsageError("--train and --test of at least 1, and --seed of at least 0 expected")
    rules, settings = load_rules(), Settings(seed=args.seed)
    train, test = (
        [tell(rules, write_script(rules, settings, split, i)) for i in range(num)]
        for split, num in (("train", args.train), ("test", args.test))
    )
    print_order(rules, train, test)
    print_distributions(rules, train)
    return EXIT_OK


def tell(rules: Rules, script: Script) -> Told:
    """Return the annotations of a script at the annotated frames of a generated world."""
    actions = find_actions(rules, script)
    ticks = frame_ticks(script)
    times = [ticks[o] / script.film.rate[0] for o in annotated_ordinals(script, actions)]
    frames = [
        {t.object: rules.states[t.state_at(time_s)].says for t in script.threads}
        for time_s in times
    ]
    return Told(script, actions, frames)


def bag(told: Told) -> Counter[str]:
    """Return the fraction of annotated frames in which each (object, predicate) pair is present."""
    counts = Counter(f"{o} {p}" for frame in told.frames for o, says in frame.items() for p in says)
    return Counter({key: n / len(told.frames) for key, n in counts.items()})


def changes(told: Told) -> Counter[str]:
    """Count the changes of predicates between consecutive annotated frames."""
    found: Counter[str] = Counter()
    for before, after in zip(told.frames, told.frames[1:], strict=False):
        for name in before:
            gone, come = before[name] - after[name], after[name] - before[name]
            found.update(f"{name} {a} > {b}" for a in (*gone, "") for b in (*come, "") if a or b)
    return found


def print_order(rules: Rules, train: list[Told], test: list[Told]) -> None:
    """Print the balanced accuracy of both classifiers for each inverse pair, and the means."""
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


def _accuracy(
    train: list[Told], test: list[Told], positive: str, see: Callable[[Told], Counter[str]]
) -> float:
    seen = [[see(t) for t in part] for part in (train, test)]
    names = sorted({name for features in seen[0] for name in features})
    x_train, x_test = (np.array([[f[n] for n in names] for f in part], float) for part in seen)
    y_train, y_test = ([positive in t.classes for t in part] for part in (train, test))
    model = LogisticRegression(max_iter=2000, C=1.0, class_weight="balanced").fit(x_train, y_train)
    return float(balanced_accuracy_score(y_test, model.predict(x_test)))


def print_distributions(rules: Rules, videos: list[Told]) -> None:
    """Print statistics of the world, for comparison with docs/world.md."""
    per_class = Counter(c for told in videos for c in told.classes)
    ordered = [n for _, n in per_class.most_common()]
    objects = Counter(o for told in videos for frame in told.frames for o in frame)
    predicates = Counter(
        p for told in videos for frame in told.frames for says in frame.values() for p in says
    )
    num_frames = sum(len(told.frames) for told in videos)
    lasts = [a.end_s - a.start_s for told in videos for a in told.actions]
    length = [told.script.length_s for told in videos]
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
