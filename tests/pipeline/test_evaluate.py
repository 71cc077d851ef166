import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.tokens import TokenBatch, TokenGrid
from pipeline import evaluate
from pipeline.cache.folder import (
    ExtractionSettings,
    LabelledVideo,
    read_cache_info,
    write_cache_info,
)
from pipeline.cache.listing import list_clips, split_held_out
from pipeline.errors import UsageError
from pipeline.evaluation.metrics import charades_map
from pipeline.evaluation.scoring import score_clips
from pipeline.evaluation.submission import read_submission
from pipeline.samples.clip_tokens import clip_tokens
from pipeline.samples.dataset import ClipDataset, clip_dataset
from pipeline.weights.run_folder import load_laiar, load_model, save_weights
from tests.pipeline.cache_maker import cache_info, labelled_clip, put, random_cache
from tests.pipeline.test_train import SELECTION, fit


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_cache(tmp_path_factory.mktemp("evaluate") / "cache", test=7)


@pytest.fixture(scope="module")
def run(cache: Path) -> Path:
    folder = cache.parent / "run"
    assert fit(cache, folder, "train.epochs=1", "train.validation_fraction=0.3") == 0
    return folder


def judge(run: Path, cache: Path, *words: str) -> int:
    return evaluate.main(["--run", str(run), "--cache", str(cache), *words])


def test_metrics_of_batches_equal_metrics_of_single_videos(
    cache: Path, run: Path, tmp_path: Path
) -> None:
    assert judge(run, cache, "--out", str(tmp_path), "train.batch_size=3") == 0
    tree = json.loads((tmp_path / "metrics.json").read_text())
    model, card = load_model(run, "cpu")
    scores, labels, kept, drawn = [], [], [], []
    clips = [c for c in list_clips(cache)[0] if c.header.split == "test"]
    data = ClipDataset(clips, 5, num_frames=4, max_pairs=10)
    for entry in clips:
        tokens = clip_tokens(data.read(entry), card.settings.max_pairs).batch
        with torch.no_grad():
            output = model.recognize(tokens)
        scores.append(output.logits[0].double().sigmoid().numpy())
        labels.append([any(a == c for a, _, _ in entry.header.actions or ()) for c in range(5)])
        kept.append(int(output.num_kept))
        drawn.append(float(output.keep_probability.sum()))
    expected = charades_map(np.array(scores), np.array(labels))
    assert tree["map_official"] == pytest.approx(expected.map, abs=1e-9)
    assert tree["wap_official"] == pytest.approx(expected.weighted, abs=1e-9)
    assert tree["num"] == pytest.approx(np.mean(kept))
    assert tree["num_noise"] == pytest.approx(np.mean(drawn))
    assert tree["num"] <= tree["num_usable"] <= tree["num_all"]
    assert (tree["videos"], tree["failed"]) == (7, 0)
    assert tree["warnings"] == ["RANDOM_WEIGHTS"]
    table = pd.read_csv(tmp_path / "per_class_ap.csv")
    assert list(table.class_id) == [f"c{i:03d}" for i in range(5)]
    np.testing.assert_allclose(table.ap, expected.ap, atol=1e-6)
    assert int(table.positives.sum()) == int(np.sum(labels))
    with np.load(tmp_path / "scores.npz") as file:
        np.testing.assert_allclose(file["scores"], np.array(scores), atol=1e-5)
        ids, submitted = read_submission(tmp_path / "charades_scores.txt")
        assert list(ids) == file["ids"].tolist()
        assert submitted.tolist() == file["scores"].tolist()
    assert json.loads((tmp_path / "run.json").read_text())["counts"]["done"] == 7


def test_splits_have_no_common_videos(cache: Path, run: Path, tmp_path: Path) -> None:
    ids = {}
    for split in evaluate.SPLITS:
        assert judge(run, cache, "--split", split, "--out", str(tmp_path / split)) == 0
        with np.load(tmp_path / split / "scores.npz") as file:
            ids[split] = set(file["ids"].tolist())
    assert ids["test"] == {f"TEST{i:03d}" for i in range(7)}
    assert ids["train"] | ids["validation"] == {f"TRAIN{i:03d}" for i in range(10)}
    assert ids["validation"]
    assert not ids["train"] & ids["validation"]


def test_evaluation_requires_no_relations_and_lists_damaged_clips(
    run: Path, tmp_path: Path
) -> None:
    cache = random_cache(tmp_path / "cache", train=0, test=3)
    silent = labelled_clip(8, "test")
    silent.predicates.clear()
    put(cache, silent)
    (cache / "TEST001.safetensors").write_bytes(b"damaged")
    out = tmp_path / "out"
    assert judge(run, cache, "--out", str(out), "relations=none") == 1
    assert json.loads((out / "metrics.json").read_text())["videos"] == 3
    row = json.loads((out / "failures.jsonl").read_text())
    assert (row["id"], row["reason"], row["stage"]) == ("TEST001", "bad-cache", "evaluate")
    counts = json.loads((out / "run.json").read_text())["counts"]
    assert counts == {"found": 4, "done": 3, "skipped": 0, "failed": 1}


def test_damaged_clip_of_another_split_is_not_a_failure(run: Path, tmp_path: Path) -> None:
    cache = random_cache(tmp_path / "cache", test=3)
    held_out = [c.video_id for c in split_held_out(list_clips(cache, split="train")[0], 0.3)[1]]
    trained = sorted({f"TRAIN{i:03d}" for i in range(10)} - set(held_out))
    for video_id in ("TEST001", trained[0]):
        (cache / f"{video_id}.safetensors").write_bytes(b"damaged")
    for split, code, failed in (("validation", 0, 0), ("test", 1, 1), ("train", 1, 1)):
        out = tmp_path / split
        assert judge(run, cache, "--split", split, "--out", str(out)) == code
        assert json.loads((out / "run.json").read_text())["counts"]["failed"] == failed


def test_verify_detects_a_changed_byte(run: Path, tmp_path: Path) -> None:
    cache = random_cache(tmp_path / "cache", train=0, test=3)
    path = cache / "TEST001.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    assert judge(run, cache, "--out", str(tmp_path / "quick")) == 0
    assert judge(run, cache, "--out", str(tmp_path / "out"), "--verify") == 1
    assert json.loads((tmp_path / "out" / "failures.jsonl").read_text())["id"] == "TEST001"


def test_empty_and_whole_selections_are_reported(cache: Path, tmp_path: Path) -> None:
    for keep, warning in (("1.0e-6", "EMPTY_SELECTION"), ("0.999999", "WHOLE_SELECTION")):
        folder = tmp_path / warning
        words = (f"model.initial_keep={keep}", *SELECTION, "model.selector=gumbel")
        assert fit(cache, folder, "train.epochs=1", *words) == 0
        assert json.loads((folder / "run.json").read_text())["warnings"][-1] == warning
        assert judge(folder, cache) == 0
        assert json.loads((folder / "metrics.json").read_text())["warnings"][-1] == warning


def test_a_higher_tolerance_keeps_fewer_tokens(cache: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    fit(cache, run, "train.epochs=1", *SELECTION)  # it can end with DEGENERATE_SELECTION
    model, _ = load_model(run, "cpu")
    weights = model.state_dict()
    weights["former.subset.mlp.2.bias"].fill_(-100.0)  # the selector alone keeps nothing
    save_weights(run, weights)
    found = []
    for tolerance in (0, 1000):
        out = tmp_path / str(tolerance)
        assert judge(run, cache, "--out", str(out), f"model.tolerance={tolerance}") == 0
        found.append(json.loads((out / "metrics.json").read_text())["num"])
    assert found[0] > found[1] == 0


@pytest.mark.parametrize(
    "word", ["train.validation_fraction=0.9", "train.seed=3", "loss.selection=1"]
)
def test_settings_fixed_by_the_training_are_rejected(
    cache: Path, run: Path, tmp_path: Path, word: str
) -> None:
    with pytest.raises(UsageError, match=f"'{word}': this setting is fixed by the network"):
        judge(run, cache, "--out", str(tmp_path), word)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"detector": {"weights": "random:1", "preset": "action-genome"}},
            "random:0 expected, got random:1",
        ),
        ({"classes": (("c000", "Only one"),)}, "5 entries expected, got 1"),
        ({"settings": ExtractionSettings("detected")}, "boxes=ground-truth expected"),
    ],
)
def test_cache_with_other_settings_is_rejected(
    run: Path, tmp_path: Path, changes: dict, says: str
) -> None:
    cache = random_cache(tmp_path / "cache", train=0, test=1)
    write_cache_info(cache, replace(cache_info(), **changes))
    with pytest.raises(UsageError, match=says):
        judge(run, cache, "--out", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_missing_or_invalid_weights_are_rejected(cache: Path, tmp_path: Path, run: Path) -> None:
    state = load_file(run / "model.safetensors")
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("model.json", "config.yaml"):
        (copy / name).write_bytes((run / name).read_bytes())
    with pytest.raises(UsageError, match="weights file not found"):
        judge(copy, cache)
    for change, says in (
        ({"language_head.weight": torch.zeros(7, 16)}, r"\(5, 16\) expected, got \(7, 16\)"),
        ({"language_head.bias": torch.full((5,), float("nan"))}, "finite numbers of float32"),
        ({"extra": torch.zeros(1)}, "1 unexpected, the first is 'extra'"),
    ):
        save_file(state | change, copy / "model.safetensors")
        with pytest.raises(UsageError, match=says):
            judge(copy, cache)
    (copy / "model.safetensors").write_bytes(b"\0" * 40)
    with pytest.raises(UsageError, match=r"model\.safetensors"):
        judge(copy, cache)
    with pytest.raises(UsageError, match=r"pipeline\.train expected"):
        judge(tmp_path, cache)
    with pytest.raises(UsageError, match="train another"):
        judge(run, cache, "model.dim=8")


def test_split_without_videos_is_rejected(run: Path, tmp_path: Path) -> None:
    cache = random_cache(tmp_path / "cache", train=2, test=0)
    with pytest.raises(UsageError, match="contains no labelled videos of 'test'"):
        judge(run, cache)


def test_random_tokens_are_as_many_as_the_selected_ones(cache: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert fit(cache, run, "train.epochs=1", *SELECTION) == 1  # keeps every token
    weights = load_file(run / "model.safetensors")
    torch.manual_seed(0)
    weights["former.subset.mlp.2.weight"].normal_(std=10.0)
    save_weights(run, weights)
    found = {}
    for keep in ("selected", "all", "random", "half"):
        out = tmp_path / keep
        assert judge(run, cache, "--out", str(out), "--keep", keep) == 0
        tree = json.loads((out / "metrics.json").read_text())
        assert tree["keep"] == keep
        found[keep] = tree["num"], np.load(out / "scores.npz")["scores"]
    total = json.loads((tmp_path / "all" / "metrics.json").read_text())["num_usable"]
    assert 0 < found["selected"][0] < total
    assert found["random"][0] == found["selected"][0]
    assert found["all"][0] == total
    assert total / 2 <= found["half"][0] <= total / 2 + 0.5
    assert not np.allclose(found["selected"][1], found["random"][1])
    with pytest.raises(UsageError, match="--out: another folder"):
        judge(run, cache, "--keep", "all")


def test_random_tokens_are_drawn_from_the_usable_ones(cache: Path, run: Path) -> None:
    model, card = load_laiar(run, "cpu")
    read = model.video_tokens

    def read_even_objects(batch: TokenBatch) -> tuple[Tensor, Tensor, TokenGrid]:
        tokens, embeddings, _ = read(batch)
        return tokens, embeddings, batch.grid.only(batch.object_labels % 2 == 0)

    model.video_tokens = read_even_objects  # type: ignore[method-assign]
    data = clip_dataset(card, [c for c in list_clips(cache)[0] if c.header.split == "test"])
    found = score_clips(model, data, torch.device("cpu"), batch_size=3, keep="half")
    assert 0 < found.usable.sum() < found.tokens.sum()
    assert found.kept.tolist() == [(n + 1) // 2 for n in found.usable]


def test_missing_test_videos_rank_last_unless_they_are_left_out(
    cache: Path, run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = tmp_path / "cache"
    shutil.copytree(cache, copy)
    assert judge(run, copy, "--out", str(tmp_path / "plain")) == 0
    plain = json.loads((tmp_path / "plain" / "metrics.json").read_text())
    assert plain["test_videos"] is None
    clips = [c for c in list_clips(copy)[0] if c.header.split == "test"]
    known = [
        LabelledVideo(c.video_id, tuple(sorted({a for a, _, _ in c.header.actions or ()})), True)
        for c in clips
    ]
    gone = LabelledVideo("GONE", (0, 3), True), LabelledVideo("NOFRAMES", (1,), False)
    write_cache_info(copy, replace(read_cache_info(copy), test_videos=(*known, *gone)))
    broken = next(c for c in list_clips(copy)[0] if c.header.split == "train")
    broken.path.write_bytes(b"damaged")  # a training clip
    assert judge(run, copy, "--out", str(tmp_path / "all")) == 0
    tree = json.loads((tmp_path / "all" / "metrics.json").read_text())
    assert tree["test_videos"] == {
        "expected": 9,
        "present": 7,
        "without_annotated_frames": 1,
        "missing": 1,
    }
    assert "1 of 9 test videos have no prediction and rank last: GONE" in caplog.text
    with np.load(tmp_path / "all" / "scores.npz") as file:
        scores, labels = file["scores"], file["labels"]
    assert len(scores) == 7
    precision = []
    for c in range(5):  # the missing video is the last row of each ranking
        order = np.argsort(-scores[:, c], kind="stable").tolist()
        truth = [bool(labels[row, c]) for row in order] + [c in (0, 3)]
        hits = [sum(truth[: i + 1]) / (i + 1) for i in range(8) if truth[i]]
        precision.append(sum(hits) / len(hits))
    assert tree["map_official"] == pytest.approx(np.mean(precision))
    assert tree["map_official"] < plain["map_official"]
    assert tree["map_tie_grouped"] < plain["map_tie_grouped"]
    assert judge(run, copy, "--only-present", "--out", str(tmp_path / "some")) == 0
    some = json.loads((tmp_path / "some" / "metrics.json").read_text())
    assert some["map_official"] == plain["map_official"]
    assert some["test_videos"] == tree["test_videos"]
