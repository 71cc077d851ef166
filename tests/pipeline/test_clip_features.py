"""Training and evaluation of networks that read clip features."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from model.settings import LaIARSettings
from pipeline import LaIARPredictor, evaluate
from pipeline.cache.clip_features import ClipFeatureInfo, feature_path, open_folder, store_feature
from pipeline.cache.listing import list_clips
from pipeline.errors import UsageError
from pipeline.evaluation.results import clip_metrics
from pipeline.evaluation.scoring import Scores
from pipeline.weights.model_card import ModelCard
from pipeline.weights.run_folder import read_card
from tests.pipeline.cache_maker import NUM_CLASSES, random_cache
from tests.pipeline.test_train import fit
from tools import faithfulness

WIDTH = 8
FAST = (
    "train.epochs=6", "train.lr=0.05", "train.validation_fraction=0", "model.dropout=0",
    "train.selection_warmup=0", "inverse_pairs=null", "loss.excerpts=0",
)  # fmt: skip


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_cache(tmp_path_factory.mktemp("clip_features") / "cache", train=12, test=8)


def write_features(folder: Path, cache: Path, *, answers: bool, network: str = "s3d") -> Path:
    """Write random vectors of all clips, which contain their labels if `answers` is True."""
    info = ClipFeatureInfo(network, "f" * 64, width=WIDTH)
    open_folder(folder, info)
    draw = torch.Generator().manual_seed(0)
    for clip in list_clips(cache)[0]:
        vector = torch.randn(WIDTH, generator=draw)
        if answers:
            vector[:NUM_CLASSES] = 0
            vector[[action for action, _, _ in clip.header.actions or ()]] = 9.0
        store_feature(folder, clip.video_id, vector, info, "mark")
    return folder


@pytest.fixture(scope="module")
def answers(cache: Path) -> Path:
    return write_features(cache.parent / "answers", cache, answers=True)


def judge(run: Path, cache: Path, *words: str) -> dict:
    out = run.parent / f"{run.name}-metrics"
    code = evaluate.main(["--run", str(run), "--cache", str(cache), "--out", str(out), *words])
    return json.loads((out / "metrics.json").read_text()) | {"code": code}


@pytest.fixture(scope="module")
def run(cache: Path, answers: Path) -> Path:
    folder = cache.parent / "run"
    assert fit(cache, folder, *FAST, f"model.clip_features={answers}") == 0
    return folder


def test_clip_features_with_the_answer_raise_the_score_and_random_ones_do_not(
    cache: Path, run: Path, answers: Path, tmp_path: Path
) -> None:
    noise = write_features(tmp_path / "noise", cache, answers=False)
    assert fit(cache, tmp_path / "plain", *FAST) == 0
    assert fit(cache, tmp_path / "noisy", *FAST, f"model.clip_features={noise}") == 0
    found, plain = judge(run, cache), judge(tmp_path / "plain", cache)
    noisy = judge(tmp_path / "noisy", cache)
    assert found["map_official"] > 0.99
    assert plain["map_official"] < 0.7
    assert noisy["map_official"] < 0.7
    assert "clip_features" not in plain
    assert found["clip_features"]["network"] == "s3d"
    # With reading, the relations alone give the scores of the network without clip features.
    alone = found["clip_features"]["relations_only"]["map_official"]
    assert alone == pytest.approx(plain["map_official"])
    assert 0.1 < found["clip_features"]["logit_share"] < 1
    moved = answers.rename(answers.parent / "moved")
    try:
        with pytest.raises(UsageError, match=r"model.clip_features: clip_features.json not found"):
            judge(run, cache)
        again = judge(run, cache, f"model.clip_features={moved}")
    finally:
        moved.rename(answers)
    assert again["map_official"] == found["map_official"]
    with pytest.raises(UsageError, match="the network reads no clip features"):
        judge(tmp_path / "plain", cache, f"model.clip_features={answers}")
    card = json.loads((run / "model.json").read_text())
    assert str(answers.parent) not in json.dumps(card)
    assert card["clip_features"]["network"] == "s3d"
    whole, bare = (load_file(r / "model.safetensors") for r in (run, tmp_path / "plain"))
    assert set(whole) - set(bare) == {"clip.weight"}
    # With reading, the clip features change no other weight.
    assert all(torch.equal(value, whole[name]) for name, value in bare.items())


def test_relations_alone_have_the_recall_of_their_part_of_the_logits(run: Path) -> None:
    card = replace(read_card(run), multi_label=False)
    labels = np.eye(NUM_CLASSES, dtype=bool)
    relations, clip = np.eye(NUM_CLASSES), np.zeros((NUM_CLASSES, NUM_CLASSES))
    clip[0, 1] = 3.0  # the clip feature turns the first video into the second class
    counts = np.ones(NUM_CLASSES)
    found = Scores(
        tuple("abcde"),
        logits=relations + clip,
        labels=labels,
        kept=counts,
        drawn=counts,
        usable=counts,
        tokens=counts,
        failed={},
        multi_label=False,
        clip_logits=clip,
    )
    tree = clip_metrics(found, card, found.scores, labels)
    assert tree == {
        "network": "s3d",
        "logit_share": pytest.approx(1 / NUM_CLASSES**2),
        "relations_only": {"mar": 1.0},
    }
    missing = np.full((1, NUM_CLASSES), -1.0)
    rows = np.concatenate([found.scores, missing]), np.concatenate([labels, labels[:1]])
    tree = clip_metrics(found, card, *rows)
    assert tree["relations_only"]["mar"] == pytest.approx((0.5 + 4) / 5)  # the missing video


def test_features_of_another_network_are_refused(cache: Path, run: Path, tmp_path: Path) -> None:
    other = write_features(tmp_path / "other", cache, answers=True, network="r3d_18")
    with pytest.raises(UsageError, match=r"features as in training expected.*network=s3d expected"):
        judge(run, cache, f"model.clip_features={other}")
    # A training run is not resumed with other vectors.
    with pytest.raises(UsageError, match="contains a training run with other settings"):
        fit(cache, run, *FAST, f"model.clip_features={other}")


def test_missing_feature_is_a_failure_by_name(cache: Path, run: Path, tmp_path: Path) -> None:
    holes = write_features(tmp_path / "holes", cache, answers=True)
    for name in ("TRAIN004", "TEST003"):
        feature_path(holes, name).unlink()
    words = ("train.epochs=1", f"model.clip_features={holes}")
    assert fit(cache, tmp_path / "run", *words) == 1
    counts = json.loads((tmp_path / "run" / "run.json").read_text())["counts"]
    assert (counts["done"], counts["failed"]) == (11, 1)
    assert _failures(tmp_path / "run") == {"TRAIN004": "bad-cache"}
    found = judge(run, cache, f"model.clip_features={holes}")
    assert (found["code"], found["videos"]) == (1, 7)
    assert _failures(run.parent / "run-metrics") == {"TEST003": "bad-cache"}


def test_networks_with_clip_features_give_no_explanation(run: Path, cache: Path) -> None:
    says = r"which no relation explains\. Only pipeline\.evaluate supports this network"
    with pytest.raises(UsageError, match=says):
        LaIARPredictor.from_run(run)
    with pytest.raises(UsageError, match=says):
        faithfulness.main(["--run", str(run), "--cache", str(cache), "--out", str(run / "out")])


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("branch=language", "branch=both expected"),
        ("model.network=transformer", "model.network=laiar expected"),
        ("train.reversed_share=0.5", "train.reversed_share=0 expected"),
        ("model.clip_features=nowhere", "clip_features.json not found in nowhere"),
    ],
)
def test_unsupported_settings_are_rejected(
    cache: Path, answers: Path, tmp_path: Path, word: str, says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        fit(cache, tmp_path / "run", f"model.clip_features={answers}", word)


def test_card_and_weights_of_earlier_runs_are_unchanged() -> None:
    folder = Path("configs/runs/world")
    card = read_card(folder)
    assert card.clip_features is None
    assert card.settings.clip_features is None
    now = card.to_dict()
    assert "clip_features" not in now
    assert "clip_features" not in now["settings"]
    assert ModelCard.from_dict(card.to_dict()) == card
    assert set(card.build().state_dict()) == set(load_file(folder / "model.safetensors"))
    assert LaIARSettings().clip_features is None


def _failures(folder: Path) -> dict[str, str]:
    lines = (folder / "failures.jsonl").read_text().splitlines()
    return {row["id"]: row["reason"] for row in map(json.loads, lines)}
