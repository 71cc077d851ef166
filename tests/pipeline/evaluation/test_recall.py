import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, confusion_matrix

from pipeline import evaluate, train
from pipeline.cache.folder import LabelledVideo, read_cache_info, write_cache_info
from pipeline.errors import UsageError
from pipeline.evaluation.recall import (
    MeanAverageRecall,
    mean_average_recall,
    recall_of_hits,
    recall_of_scores,
)
from tests.pipeline.cache_maker import SMALL, labelled_clip, put, random_cache

NUM_CLASSES = 5


def looped(predicted: list[int], labels: list[int], num_classes: int) -> list[float]:
    """Return the recalls of the classes that have clips, in plain loops."""
    recalls = []
    for c in range(num_classes):
        hits = clips = 0
        for guess, label in zip(predicted, labels, strict=True):
            if label == c:
                clips += 1
                hits += guess == c
        if clips:
            recalls.append(hits / clips)
    return recalls


def test_no_clips_have_no_recall() -> None:
    none = np.zeros(0, np.int64)
    found = mean_average_recall(none, none, 2)
    assert math.isnan(found.mar)
    assert math.isnan(found.accuracy)
    assert found.num_skipped == 2
    tree = found.to_dict()
    assert (tree["mar"], tree["accuracy"], tree["classes_without_clips"]) == (None, None, 2)
    assert tree["recall"][0] == {
        "recall": None,
        "hits": 0,
        "support": 0,
        "low": None,
        "high": None,
    }
    assert tree["confusion"] == [[0, 0], [0, 0]]


def test_recall_of_a_hand_computed_example() -> None:
    """Class 0: 2 of 3 clips, class 1: 0 of 1, class 2: no clips, class 3: 1 of 2, one missing."""
    labels = np.array([0, 0, 0, 1, 3, 3])
    predicted = np.array([0, 0, 2, 0, 3, -1])
    found = mean_average_recall(predicted, labels, 4)
    np.testing.assert_array_equal(found.recall, [2 / 3, 0, np.nan, 1 / 2])
    assert found.mar == pytest.approx((2 / 3 + 0 + 1 / 2) / 3)
    assert found.accuracy == pytest.approx(3 / 6)
    assert found.num_skipped == 1
    assert found.support.tolist() == [3, 1, 0, 2]
    assert found.confusion is not None
    assert found.confusion.tolist() == [[2, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]
    assert (found.support - found.confusion.sum(1)).tolist() == [0, 0, 0, 1]


def test_mar_equals_plain_loops_and_balanced_accuracy() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        labels, predicted = rng.integers(0, 6, 40), rng.integers(0, 6, 40)
        found = mean_average_recall(predicted, labels, 6)
        wanted = looped(predicted.tolist(), labels.tolist(), 6)
        assert found.mar == pytest.approx(sum(wanted) / len(wanted))
        if set(predicted) <= set(labels):  # otherwise scikit-learn warns
            assert found.mar == pytest.approx(balanced_accuracy_score(labels, predicted))
        expected = confusion_matrix(labels, predicted, labels=range(6))
        np.testing.assert_array_equal(found.confusion, expected)
        assert found.hits.sum() == sum(a == b for a, b in zip(labels, predicted, strict=True))


def test_interval_equals_the_formula_of_wilson() -> None:
    found = MeanAverageRecall(np.array([0, 7, 10, 0]), np.array([4, 10, 10, 0]))
    z = 1.959963984540054
    for c, (hits, n) in enumerate([(0, 4), (7, 10), (10, 10)]):
        p = hits / n
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        assert found.interval[c] == pytest.approx([centre - half, centre + half], abs=1e-9)
    assert np.isnan(found.interval[3]).all()


def test_hits_of_clips_with_several_predictions() -> None:
    """The rules of the original evaluation, in plain loops; class 0 is `null`."""
    labels = [0, 0, 1, 1, 2]
    predictions = [[], [2], [1, 2], [], [1]]
    hits = []
    for label, said in zip(labels, predictions, strict=True):
        hits.append(not said if label == 0 else label in said)
    found = recall_of_hits(np.array(hits), np.array(labels), 3)
    assert found.recall.tolist() == [0.5, 0.5, 0.0]
    assert found.mar == pytest.approx(1 / 3)
    assert found.to_dict()["confusion"] is None


def test_recall_of_scores_uses_the_first_highest_score() -> None:
    scores = np.array([[0.2, 0.8], [0.5, 0.5], [0.9, 0.1], [-1.0, -1.0], [0.1, 0.9]])
    labels = np.array([[0, 1], [0, 1], [1, 0], [1, 0], [0, 0]], bool)
    found = recall_of_scores(scores, labels)
    assert found.support.tolist() == [2, 2]  # the clip without a class is left out
    assert found.hits.tolist() == [1, 1]  # a tie is the first class, and -1 is no prediction
    assert found.confusion is not None
    assert found.confusion.tolist() == [[1, 0], [1, 1]]


def test_invalid_classes_and_scores_are_rejected() -> None:
    ok = np.array([0, 1])
    with pytest.raises(ValueError, match="labels: classes from 0 to 1 expected, got 2 for clip 1"):
        mean_average_recall(ok, np.array([0, 2]), 2)
    with pytest.raises(ValueError, match="labels: classes from 0 to 1 expected, got -1 for clip 0"):
        mean_average_recall(ok, np.array([-1, 0]), 2)
    with pytest.raises(ValueError, match="predicted: classes from -1 to 1 expected, got -2"):
        mean_average_recall(np.array([-2, 0]), ok, 2)
    with pytest.raises(ValueError, match="0 to 1 expected in class 1, got 2"):
        MeanAverageRecall(np.array([0, 2]), np.array([1, 1]))
    with pytest.raises(ValueError, match="one number per class expected"):
        MeanAverageRecall(np.array([0, 2]), np.array([1, 2, 3]))
    labels = np.eye(2, dtype=bool)
    with pytest.raises(ValueError, match="got NaN in row 1"):
        recall_of_scores(np.array([[0.1, 0.9], [np.nan, 0.5]]), labels)
    with pytest.raises(ValueError, match="one class per clip expected, row 1 has 2"):
        recall_of_scores(np.zeros((2, 2)), np.array([[True, False], [True, True]]))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cache of clips with one action each, and a test video of class 1 without a clip."""
    folder = random_cache(tmp_path_factory.mktemp("recall") / "cache", train=0, test=0)
    videos = []
    for split, num in (("train", 15), ("test", 9)):
        for number in range(num):
            clip = labelled_clip(number, split)
            label = number % NUM_CLASSES if split == "train" else number % (NUM_CLASSES - 1)
            header = replace(clip.header, actions=((label, 0.0, 0.5),))
            put(folder, replace(clip, header=header))
            if split == "test":
                videos.append(LabelledVideo(header.video_id, (label,), has_frames=True))
    missing = LabelledVideo("TEST999", (1,), has_frames=True)
    info = read_cache_info(folder)
    write_cache_info(folder, replace(info, test_videos=(*videos, missing)))
    return folder


@pytest.fixture(scope="module")
def run(cache: Path) -> Path:
    folder = cache.parent / "run"
    words = ["loss.multi_label=false", "loss.excerpts=0", "train.epochs=3", "train.lr=0.01"]
    config = ["--config", "configs/charades_oracle.yaml", *SMALL, *words]
    place = ["--cache", str(cache), "--run", str(folder), "train.validation_fraction=0.4"]
    assert train.main([*config, *place]) == 0
    return folder


def judged(run: Path, cache: Path, out: Path, *words: str) -> dict:
    assert evaluate.main(["--run", str(run), "--cache", str(cache), "--out", str(out), *words]) == 0
    tree: dict = json.loads((out / "metrics.json").read_text())
    return tree


def test_evaluate_writes_the_recall_of_a_single_label_network(
    cache: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = judged(run, cache, tmp_path)
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == ["mar", f"{tree['mar']:.4f}"]
    assert shown[1].split() == ["accuracy", f"{tree['accuracy']:.4f}"]
    with np.load(tmp_path / "scores.npz") as file:
        scores, labels = file["scores"], file["labels"]
    predicted, true = [], []
    for row, truth in zip(scores.tolist(), labels.tolist(), strict=True):
        predicted.append(row.index(max(row)))
        true.append(truth.index(True))
    recalls = looped([*predicted, -1], [*true, 1], NUM_CLASSES)
    assert len(recalls) == NUM_CLASSES - 1  # no test clip has the last class
    assert tree["mar"] == pytest.approx(np.mean(recalls))
    hits = sum(a == b for a, b in zip(predicted, true, strict=True))
    assert tree["accuracy"] == pytest.approx(hits / 10)
    assert tree["classes_without_clips"] == 1
    assert tree["test_videos"]["missing"] == 1
    assert 0 <= tree["map_official"] <= 1
    table = pd.read_csv(tmp_path / "per_class_recall.csv")
    assert table.class_id.tolist() == [f"c{i:03d}" for i in range(NUM_CLASSES)]
    assert table.support.tolist() == [3, 3, 2, 2, 0]
    assert table.recall.dropna().tolist() == pytest.approx(recalls, abs=1e-6)
    assert [row["support"] for row in tree["recall"]] == table.support.tolist()
    assert np.sum(tree["confusion"]) == 9
    present = judged(run, cache, tmp_path / "present", "--only-present")
    assert [row["support"] for row in present["recall"]] == [3, 2, 2, 2, 0]
    assert present["accuracy"] == pytest.approx(hits / 9)


def test_standard_error_is_the_deviation_of_drawn_hits() -> None:
    hits, support = np.array([3, 1, 0, 9]), np.array([5, 1, 0, 12])
    found = MeanAverageRecall(hits, support).standard_error
    rng = np.random.default_rng(0)
    there = [(k + 1) / (n + 2) for k, n in zip(hits, support, strict=True)]
    drawn = [
        np.mean([rng.binomial(n, p) / n for n, p in zip(support, there, strict=True) if n])
        for _ in range(20000)
    ]
    assert found == pytest.approx(float(np.std(drawn)), rel=0.03)
    assert math.isnan(MeanAverageRecall(hits * 0, support * 0).standard_error)


def test_best_epoch_of_a_single_label_network_is_selected_by_mar(
    cache: Path, run: Path, tmp_path: Path
) -> None:
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    epochs = [row for row in rows if row["kind"] == "epoch"]
    values = [row["validation_mar"] for row in epochs]
    assert not any("validation_map" in row for row in epochs)
    errors = [row["validation_mar_error"] for row in epochs]
    best = max(i for i in range(3) if values[i] >= max(values[: i + 1]) - errors[i])
    assert epochs[-1]["best_epoch"] == best + 1
    tree = judged(run, cache, tmp_path, "--split", "validation")
    assert tree["mar"] == values[best]
    assert tree["mar"] != tree["map_official"]


def test_test_clip_with_two_actions_is_rejected(run: Path, tmp_path: Path) -> None:
    other = random_cache(tmp_path / "cache", train=0, test=3)
    with pytest.raises(UsageError, match="one action per video expected, TEST001 has 2"):
        evaluate.main(["--run", str(run), "--cache", str(other)])


def test_latest_epoch_within_one_standard_error_is_the_best(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hits = iter([(4, 4), (4, 3), (2, 2)])  # 1.0, 0.875 with a standard error of 0.15, 0.5

    def found(*_: object) -> MeanAverageRecall:
        return MeanAverageRecall(np.array(next(hits)), np.array([4, 4]))

    monkeypatch.setattr("pipeline.training.laiar.task.recall_of_scores", found)
    words = ["loss.multi_label=false", "loss.excerpts=0", "train.epochs=3"]
    place = ["--cache", str(cache), "--run", str(tmp_path), "train.validation_fraction=0.4"]
    assert train.main(["--config", "configs/charades_oracle.yaml", *SMALL, *words, *place]) == 0
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["best_epoch"] for row in rows if row["kind"] == "epoch"] == [1, 2, 2]
