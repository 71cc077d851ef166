import itertools
from collections.abc import Collection
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from pipeline.datasets.cad120 import Release, read_release
from pipeline.decoding.sampling import segment_rows
from pipeline.evaluation.rule_table import rule_table_hits
from tests.pipeline.datasets.cad120.release_maker import (
    NUM_FRAMES,
    VIDEOS,
    video_tree,
    write_release,
    write_video,
)

#: (action, subject class, state before, state after) of the rules of the small release.
RULES = [
    ("open", None, "closed", "open"),
    ("pick", "hand", "not_holding", "holding"),
    ("drink", "head", "apart", "contacting"),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_release(tmp_path / "annotations")


def expected_hits(
    release: Release,
    trees: dict[str, dict],
    num: int | None,
    classes: Collection[str | None],
    occluded: bool,
) -> list[bool]:
    """Compute the hits from the JSON of the videos with plain loops."""
    hits = []
    for line in (line for lines in release.clips.values() for line in lines):
        tree, found = trees[line.video_id], set()
        boxes = {entry["obj_id"]: entry["loc_list"] for entry in tree["locations"]}
        lists = [([e["obj_id"]], e["attr_list"]) for e in tree["attributes"]]
        lists += [(e["obj_ids"], e["rel_list"]) for e in tree["relations"]]
        n = line.last - line.first + 1
        frames = [int((i + 0.5) * n / num) for i in range(num)] if num and num < n else range(n)
        for names, states in lists:
            subject = names[0].split("_")[0] if len(names) == 2 else None
            if subject not in classes:
                continue
            known = []
            for frame in frames:
                shown = all(min(boxes[name][line.first + frame][2:]) > 0 for name in names)
                if occluded or shown:
                    known.append(states[line.first + frame])
            for i in range(1, len(known)):
                change = (subject, known[i - 1], known[i])
                found |= {name for name, *rule in RULES if change == tuple(rule)}
        action = release.knowledge.actions[line.action]
        hits.append(not found if action == "null" else action in found)
    return hits


CLASSES = ((None, "hand", "head"), ("hand", "head"), ("hand",), (None,), ())


@pytest.mark.parametrize("seed", range(3))
def test_hits_equal_those_of_plain_loops(root: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    trees = {video_id: video_tree(video_id) for video_id in VIDEOS}
    for tree in trees.values():
        for entry in tree["relations"] + tree["attributes"]:
            states = entry.get("rel_list", entry.get("attr_list"))
            names = sorted(set(states))
            states[:] = [names[i] for i in rng.integers(0, 2, NUM_FRAMES)]
        for entry in tree["locations"]:
            for frame in np.flatnonzero(rng.random(NUM_FRAMES) < 0.3):
                entry["loc_list"][frame] = [0, 0, 0, 0]
        write_video(root, tree["video_id"], tree)
    rows = [
        f"{subject}, {activity}, {name}, {first}, {last}, {action}"
        for name, (subject, activity) in VIDEOS.items()
        for (first, last), action in zip(
            [(1, 12), (2, 5), (6, 12), (4, 9)], ["null", "open", "pick", "drink"], strict=True
        )
    ]
    (root / "video_clips.txt").write_text("\n".join(rows))
    release = read_release([root])
    seen = set()
    for num, classes, occluded in itertools.product((None, 2, 5), CLASSES, (True, False)):
        found = rule_table_hits(
            release,
            sample=partial(segment_rows, num_segments=num or NUM_FRAMES),
            attributes=None in classes,
            subject_classes=[name for name in classes if name],
            occluded=occluded,
        )
        expected = expected_hits(release, trees, num, classes, occluded)
        assert found.hits.tolist() == expected
        seen.add(tuple(expected))
    assert len(seen) > 5


def test_rules_infer_all_actions_from_all_frames(root: Path) -> None:
    found = rule_table_hits(read_release([root]))
    assert found.hits.tolist() == [True] * 5
    assert found.labels.tolist() == [2, 3, 1, 0, 2]
    assert found.subjects.tolist() == ["Subject1"] * 3 + ["Subject2"] * 2


def test_all_subject_classes_are_used_by_default(root: Path) -> None:
    release = read_release([root])
    assert rule_table_hits(release).hits.tolist() == [True] * 5
    only = rule_table_hits(release, subject_classes=["hand"])
    assert only.hits.tolist() == [True, False, True, True, True]


def test_change_while_a_box_is_invisible_is_inferred_from_the_frames_around_it(
    root: Path,
) -> None:
    (root / "video_clips.txt").write_text(
        "Subject1, drinking, 0001, 1, 6, pick\nSubject1, drinking, 0001, 1, 7, pick\n"
    )
    release = read_release([root])
    assert rule_table_hits(release).hits.tolist() == [True, True]
    assert rule_table_hits(release, occluded=False).hits.tolist() == [False, True]


def test_clips_of_a_faulty_video_are_no_hits(root: Path) -> None:
    path = next((root / "all").rglob("0001.json"))
    path.write_text("{")
    found = rule_table_hits(read_release([root]))
    assert found.hits.tolist() == [True] * 3 + [False] * 2
    assert found.labels.tolist() == [1, 0, 2, 2, 3]
