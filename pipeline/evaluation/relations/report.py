"""Recall tables for the terminal."""

from typing import Any

from pipeline.evaluation.relations.published import MEAN_RECALL, RECALL
from pipeline.evaluation.relations.scores import SHOWN_K
from relations.recall import CONSTRAINTS, K

_WIDTH = 34


def print_report(tree: dict[str, Any]) -> None:
    """Print the results of an evaluation.

    The tables contain the recall by constraint together with published values, and the recall by
    group and predicate.

    Args:
        tree: results of `tools.evaluate_relations`.
    """
    results = tree["results"]
    frames = results["predictor"]["frames"]
    print(f"\n{tree['mode']}, {tree['split']} split: {tree['videos']} videos, {frames} frames")
    if tree["frames_not_in_cache"]:
        print(f"{tree['frames_not_in_cache']} annotated frames ignored: they are not in the cache")
    if results["frequency"] is None:
        print("no frequency baseline: the cache has no annotated training videos")
    if tree["pairs_without_union_features"]:
        print(
            f"{tree['pairs_without_union_features']} pairs ignored ({tree['pairs']} evaluated): "
            "the cache has union features for one person per frame, and not for pairs of persons"
        )
    columns = [f"R@{k}" for k in K] + [f"mR@{k}" for k in K[:2]]
    for constraint in CONSTRAINTS:
        print(f"\n{constraint + ' constraint':{_WIDTH}}" + "".join(f"{c:>8}" for c in columns))
        for name, result in results.items():
            if result is None or (name == "ceiling" and constraint != "with"):
                continue
            recall, mean = result["recall"][constraint], result["mean_recall"][constraint]
            row = [*(recall[str(k)] for k in K), *(mean[str(k)] for k in K[:2])]
            print(f"{name:{_WIDTH}}" + "".join(f"{100 * v:8.1f}" for v in row))
        for method, published in RECALL[tree["mode"]][constraint].items():
            mean = MEAN_RECALL.get(tree["mode"], {}).get(constraint, {}).get(method, ())
            cells = "".join(f"{v:8.1f}" for v in published) + f"{'-':>8}"
            cells += "".join(f"{v:8.1f}" for v in mean)
            print(f"{method + ', on Action Genome':{_WIDTH}}{cells}")
    _print_groups("accuracy of the best predicate", results, "accuracy")
    _print_groups(f"R@{SHOWN_K} by group, with constraint", results, "by_group")
    shown = _shown(results)
    print(
        f"\n{f'R@{SHOWN_K} by predicate, with constraint':{_WIDTH}}"
        + "".join(f"{name:>12}" for name in shown)
        + f"{'count':>8}"
    )
    for predicate, row in results["predictor"]["by_predicate"].items():
        found = (results[name]["by_predicate"][predicate]["recall"] for name in shown)
        cells = "".join(f"{100 * recall:12.1f}" for recall in found)
        print(f"{predicate:{_WIDTH}}{cells}{row['count']:8d}")


def _shown(results: dict[str, Any]) -> list[str]:
    """Return the names of the displayed results. The baseline is displayed if it exists."""
    return [name for name in ("predictor", "frequency") if results[name] is not None]


def _print_groups(title: str, results: dict[str, Any], key: str) -> None:
    """Print one line each for the predictor and the baseline, unless a value is missing."""
    if None in results["predictor"][key].values():
        return
    print(f"\n{title:{_WIDTH}}" + "".join(f"{g:>12}" for g in results["predictor"][key]))
    for name in _shown(results):
        print(f"{name:{_WIDTH}}" + "".join(f"{100 * v:12.1f}" for v in results[name][key].values()))
