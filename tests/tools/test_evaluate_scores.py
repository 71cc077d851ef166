"""Tests of `tools.evaluate_scores` with text files and pickles of SlowFast."""

import csv
import json
import os
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from pipeline.datasets.charades.table import COLUMNS
from pipeline.errors import UsageError
from pipeline.evaluation.submission import read_submission, submission_line
from tools import evaluate_scores
from tools.evaluate_scores import read_ranked

V, C = 24, 5
IDS = [f"V{row:04d}" for row in np.random.default_rng(5).permutation(V)]


@pytest.fixture
def labels() -> np.ndarray:
    found = np.random.default_rng(0).random((V, C)) < 0.35
    found[:, 4] = False  # a class without positives
    found[~found.any(1), 0] = True
    found[3] = False  # a video without labels
    return np.asarray(found)


@pytest.fixture
def scores() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(V, C))


@pytest.fixture
def annotations(tmp_path: Path, labels: np.ndarray) -> Path:
    folder = tmp_path / "annotations"
    folder.mkdir()
    names = "".join(f"c{c:03d} Action {c}\n" for c in range(C))
    (folder / "Charades_v1_classes.txt").write_text(names)
    with open(folder / "Charades_v1_test.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        for name, row in zip(IDS, labels, strict=True):
            actions = ";".join(f"c{c:03d} 0.00 1.00" for c in np.flatnonzero(row))
            writer.writerow({"id": name, "actions": actions, "length": "10.00"})
    return folder


def official_map(
    submitted: dict[str, np.ndarray], labels: np.ndarray, ids: Sequence[str] = IDS
) -> float:
    """mAP of `Charades_v1_classify.m` in plain loops, without classes that have no positives."""
    values = []
    for c in range(C):
        keyed = []
        for row, name in enumerate(ids):
            known = labels[row].any() and name in submitted
            keyed.append((-submitted[name][c] if known else np.inf, row))
        hits, precisions = 0, []
        for rank, (_, row) in enumerate(sorted(keyed), 1):
            if labels[row, c]:
                hits += 1
                precisions.append(hits / rank)
        if hits:
            values.append(sum(precisions) / hits)
    return float(np.mean(values))


def by_id(scores: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(IDS, scores, strict=True))


def written(path: Path, ids: Sequence[str], scores: np.ndarray) -> Path:
    path.write_text("".join(map(submission_line, ids, scores)))
    return path


def measure(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, float]:
    capsys.readouterr()
    assert evaluate_scores.main([*map(str, words), "--json"]) == 0
    tree: dict[str, float] = json.loads(capsys.readouterr().out)
    return tree


def test_text_files_are_evaluated_like_the_official_evaluation(
    tmp_path: Path,
    labels: np.ndarray,
    scores: np.ndarray,
    annotations: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    order = np.random.default_rng(2).permutation(V)
    path = written(tmp_path / "sub.txt", [IDS[i] for i in order], scores[order])
    tree = measure(capsys, path, "--annotations", annotations)
    assert tree["map_official"] == pytest.approx(official_map(by_id(scores), labels))
    assert (tree["videos"], tree["missing"], tree["extra"]) == (V, 0, 0)
    assert (tree["unlabelled"], tree["classes_without_positives"]) == (1, 1)
    kept = np.flatnonzero(np.arange(V) % 4 > 0)
    some = written(tmp_path / "some.txt", [*[IDS[i] for i in kept], "OTHER"], scores[[*kept, 0]])
    tree = measure(capsys, some, "--annotations", annotations)
    wanted = official_map({IDS[i]: scores[i] for i in kept}, labels)
    assert tree["map_official"] == pytest.approx(wanted)
    assert (tree["videos"], tree["missing"], tree["extra"]) == (V, V // 4, 1)


def test_submissions_survive_a_round_trip(tmp_path: Path, scores: np.ndarray) -> None:
    path = written(tmp_path / "a.txt", IDS, scores)
    ids, found = read_submission(path)
    assert (list(ids), found.tolist()) == (IDS, scores.tolist())
    path.write_text("\ufeff" + path.read_text().replace(" ", "\t  ").replace("\n", " \r\n\r\n"))
    assert read_submission(path)[1].tolist() == scores.tolist()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("V0000 1 2\nV0001 1\n", ":2: an id and 2 scores expected, got 1"),
        ("V0000\n", ":1: an id and 0 scores expected"),
        ("V0000 1 2\nV0000 1 2\n", ":2: one line per video expected, got a second one of V0000"),
        ("V0000 1 x\n", ":1: an id and scores expected: could not convert"),
        ("V0000 1 nan\n", ":1: finite scores expected"),
        ("\n", "the file is empty"),
        ("V0000 1 2\n", r"scores of the 5 classes of Charades_v1_classes\.txt expected, got 2"),
        ("X 1 2 3 4 5\n", r"ids of Charades_v1_test\.csv such as V\d+ expected, got X"),
    ],
)
def test_invalid_text_files_are_rejected(
    tmp_path: Path, annotations: Path, text: str, says: str
) -> None:
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(UsageError, match=says):
        read_ranked(tmp_path / "a.txt", annotations, None)


def dumped(path: Path, *values: object) -> Path:
    path.write_bytes(pickle.dumps([*values]))
    return path


def tensors(scores: np.ndarray, labels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(scores).float(), torch.from_numpy(labels).float()


@pytest.mark.parametrize("save", [dumped, lambda path, *values: torch.save([*values], path)])
def test_slowfast_pickles_are_evaluated_by_their_own_labels(
    tmp_path: Path,
    labels: np.ndarray,
    scores: np.ndarray,
    save: Callable[..., object],
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "results.pyth"
    given, truth = tensors(scores, labels)
    save(path, given, truth)
    tree = measure(capsys, path)
    kept = labels[:, labels.any(0)], given.numpy()[:, labels.any(0)]
    theirs = average_precision_score(*kept, average=None)  # get_map of SlowFast
    assert tree["map_tie_grouped_all_rows"] == pytest.approx(np.mean(theirs))
    assert tree["videos"] == V
    given[:2] = -1e10  # never tested
    save(path, given, truth)
    tree = measure(capsys, path)
    submitted = {name: row for name, row in by_id(given.numpy()).items() if row.max() > -1e9}
    assert tree["missing"] == 2
    assert tree["map_official"] == pytest.approx(official_map(submitted, labels))


def test_slowfast_rows_follow_the_videos_of_its_list(
    tmp_path: Path,
    labels: np.ndarray,
    scores: np.ndarray,
    annotations: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    order = [row for row in range(V) if labels[row].any()][::-1]  # no unlabelled videos
    path = dumped(tmp_path / "a.pkl", *tensors(scores[order], labels[order]))
    frames = tmp_path / "val.csv"
    lines = [
        f'{IDS[row]} {i} {n} {IDS[row]}/{n}.jpg "1"' for i, row in enumerate(order) for n in (0, 1)
    ]
    frames.write_text("\n".join(["original_vido_id video_id frame_id path labels", *lines]) + "\n")
    tree = measure(capsys, path, "--annotations", annotations, "--list", frames)
    given = scores.astype(np.float32).astype(float)
    assert tree["map_official"] == pytest.approx(official_map(by_id(given), labels))
    assert (tree["videos"], tree["missing"]) == (V, 1)
    with pytest.raises(
        UsageError, match=r"contains no ids; its rows follow the videos of SlowFast"
    ):
        read_ranked(path, annotations, None)
    frames.write_text("\n".join(IDS[row] for row in sorted(order)))
    with pytest.raises(UsageError, match=r"the labels of \d+ of 23 videos differ"):
        read_ranked(path, annotations, frames)
    frames.write_text("\n".join(IDS))
    with pytest.raises(UsageError, match=r"--list: 23 videos expected as in .*, got 24"):
        read_ranked(path, annotations, frames)


def test_invalid_slowfast_pickles_are_rejected(
    tmp_path: Path, labels: np.ndarray, scores: np.ndarray
) -> None:
    given, truth = tensors(scores, labels)
    for values, says in (
        ([truth, truth], "got the labels twice"),
        ([given, torch.arange(V)], "one label per video"),
        ([given[:3], truth], r"one shape \(videos, classes\) expected, got \(3, 5\), \(24, 5\)"),
        ([given], r"\[predictions, labels\] expected"),
        ([given, "labels"], "two tensors expected, got str"),
        ([given, truth + 0.5], "labels of 0 and 1 expected"),
        ([given - 1e10, truth], "got -1e10 for all videos.*ENSEMBLE_METHOD max"),
        ([given * float("nan"), truth], "numbers as predictions"),
        ([scores, labels], r"refers to numpy\.[\w.]+, which was not run"),
    ):
        path = dumped(tmp_path / "a.pkl", *values)
        with pytest.raises(UsageError, match=says):
            read_ranked(path, None, None)


def test_code_in_pickles_of_scores_is_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    class Hostile:
        def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
            return os.system, (f"touch {mark}",)

    for save in (dumped, lambda path, *values: torch.save([*values], path)):
        save(tmp_path / "a.pkl", Hostile(), torch.ones(1, 1))
        with pytest.raises(UsageError, match=r"system, which was not run"):
            read_ranked(tmp_path / "a.pkl", None, None)
    assert not mark.exists()


def test_missing_and_needless_files_are_named(
    tmp_path: Path, annotations: Path, scores: np.ndarray, labels: np.ndarray
) -> None:
    text = written(tmp_path / "a.txt", IDS, scores)
    np.savez(tmp_path / "a.npz", scores=scores, labels=labels)
    for path, folder, ids, says in (
        (text, None, None, "contains no labels; set --annotations"),
        (text, annotations, text, "--list: only for a pickle of SlowFast"),
        (tmp_path / "a.npz", annotations, None, r"--annotations: not for \.npz files"),
        (tmp_path / "b.txt", annotations, None, "FILE: file not found"),
        (text, tmp_path / "none", None, "--annotations: folder not found"),
    ):
        with pytest.raises(UsageError, match=says):
            read_ranked(path, folder, ids)
    (annotations / "Charades_v1_test.csv").unlink()
    with pytest.raises(UsageError, match=r"Charades_v1_test\.csv expected below"):
        read_ranked(text, annotations, None)
