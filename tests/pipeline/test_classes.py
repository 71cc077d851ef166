"""Networks for some of the classes of a cache."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import average_precision_score

from pipeline import evaluate, train
from pipeline.cache.listing import list_clips
from pipeline.errors import UsageError
from pipeline.samples.dataset import clip_dataset
from pipeline.weights.model_card import ModelCard
from pipeline.weights.run_folder import read_card
from tests.pipeline.cache_maker import SMALL, labelled_clip, put, random_cache

CHOSEN = (0, 3)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = random_cache(tmp_path_factory.mktemp("classes") / "cache", test=9)
    clip = labelled_clip(50, "test")
    put(folder, replace(clip, header=replace(clip.header, actions=())))
    return folder


def fit(cache: Path, run: Path, *words: str) -> int:
    config = ["--config", "configs/charades_oracle.yaml", *SMALL, "train.epochs=1"]
    return train.main([*config, "--cache", str(cache), "--run", str(run), *words])


@pytest.fixture(scope="module")
def run(cache: Path) -> Path:
    folder = cache.parent / "run"
    assert fit(cache, folder, "classes=[c003,c000]", "train.validation_fraction=0.3") == 0
    assert evaluate.main(["--run", str(folder), "--cache", str(cache)]) == 0
    return folder


def truth(cache: Path) -> dict[str, set[int]]:
    """Return the classes of each test video."""
    clips = list_clips(cache, split="test")[0]
    return {clip.video_id: {a for a, _, _ in clip.header.actions or ()} for clip in clips}


def test_network_predicts_the_chosen_classes(run: Path) -> None:
    card = read_card(run)
    assert card.columns == CHOSEN
    assert card.classes == (("c000", "Doing thing 0"), ("c003", "Doing thing 3"))
    assert len(card.cache.classes) == 5
    table = pd.read_csv(run / "per_class_ap.csv")
    assert table["class_id"].tolist() == ["c000", "c003"]
    assert json.loads((run / "metrics.json").read_text())["classes"] == 2


def test_labels_of_other_classes_are_dropped(cache: Path, run: Path) -> None:
    entries = list_clips(cache, split="test")[0]
    data, known = clip_dataset(read_card(run), entries), truth(cache)
    kept = set()
    for number, entry in enumerate(entries):
        sample = data[number]
        assert not isinstance(sample, tuple)
        expected = [float(c in known[entry.video_id]) for c in CHOSEN]
        assert sample.labels.tolist() == expected
        assert sample.during.any(1).tolist() == [bool(value) for value in expected]
        kept.add((len(known[entry.video_id]), sum(expected)))
        clip = data.read(entry)
        columns = {column for column, _, _ in clip.header.actions or ()}
        assert columns == {column for column, value in enumerate(expected) if value}
    assert {(2, 1), (2, 0), (0, 0)} <= kept


def test_video_with_other_classes_only_is_a_negative(cache: Path, run: Path) -> None:
    with np.load(run / "scores.npz") as file:
        ids, scores, labels = file["ids"].tolist(), file["scores"], file["labels"]
    known = {video_id: found for video_id, found in truth(cache).items() if found}
    assert sorted(ids) == sorted(known)
    np.testing.assert_array_equal(labels, [[c in known[name] for c in CHOSEN] for name in ids])
    assert (~labels.any(1)).any()
    expected = [average_precision_score(labels[:, c], scores[:, c]) for c in range(2)]
    tree = json.loads((run / "metrics.json").read_text())
    assert tree["map_official"] == pytest.approx(np.mean(expected))
    assert tree["map_tie_grouped"] == pytest.approx(np.mean(expected))
    assert tree["videos"] == len(known)


def test_validation_during_training_equals_evaluate(cache: Path, run: Path, tmp_path: Path) -> None:
    words = ["--run", str(run), "--cache", str(cache), "--out", str(tmp_path)]
    assert evaluate.main([*words, "--split", "validation"]) == 0
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    (found,) = [row["validation_map"] for row in rows if row["kind"] == "epoch"]
    assert found == json.loads((tmp_path / "metrics.json").read_text())["map_official"]


def test_labels_of_all_listed_classes_equal_those_without_the_setting(
    cache: Path, tmp_path: Path
) -> None:
    ids = ",".join(f"c{i:03d}" for i in range(5))
    assert fit(cache, tmp_path / "all", f"classes=[{ids}]") == 0
    assert fit(cache, tmp_path / "none") == 0
    ours, theirs = (read_card(tmp_path / name) for name in ("all", "none"))
    assert (ours.columns, theirs.columns) == ((0, 1, 2, 3, 4), None)
    entries = list_clips(cache)[0]
    data = [clip_dataset(card, entries) for card in (ours, theirs)]
    for number in range(len(entries)):
        a, b = data[0][number], data[1][number]
        assert not isinstance(a, tuple)
        assert not isinstance(b, tuple)
        assert torch.equal(a.labels, b.labels)


def test_single_label_training_leaves_out_videos_of_other_classes(
    cache: Path, tmp_path: Path
) -> None:
    words = ("loss.multi_label=false", "loss.excerpts=0", "train.validation_fraction=0")
    with pytest.raises(UsageError, match="one action per video expected, TRAIN001 has 2"):
        fit(cache, tmp_path / "run", *words)
    assert fit(cache, tmp_path / "run", *words, "classes=[c000,c004]") == 0
    clips = list_clips(cache, split="train")[0]
    known = [{a for a, _, _ in clip.header.actions or ()} for clip in clips]
    assert read_card(tmp_path / "run").training["videos"] == sum(
        len(found & {0, 4}) == 1 for found in known
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["classes=[c000,c009]"], "classes: ids of the 5 classes of the cache expected.*'c009'"),
        (["classes=[Doing]"], "such as 'c000', got 'Doing'"),
        (["classes=[c000,c000]"], "classes: each id once expected, got 'c000' twice"),
        (["classes=c000"], "classes"),
    ],
)
def test_unknown_classes_are_rejected(
    cache: Path, tmp_path: Path, words: list[str], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        fit(cache, tmp_path / "run", *words)


def test_classes_are_fixed_by_the_network(cache: Path, run: Path) -> None:
    with pytest.raises(UsageError, match="fixed by the network"):
        evaluate.main(["--run", str(run), "--cache", str(cache), "classes=[c001]"])


@pytest.mark.parametrize("columns", [(), (3, 0), (0, 0), (-1,), (5,)])
def test_card_with_invalid_columns_is_rejected(run: Path, columns: tuple[int, ...]) -> None:
    tree = read_card(run).to_dict()
    del tree["columns"]
    assert ModelCard.from_dict(tree).columns is None  # written by earlier versions
    with pytest.raises(ValueError, match="columns: increasing indices of classes expected"):
        ModelCard.from_dict(tree | {"columns": list(columns)})
