"""Baselines and controls, trained and evaluated by the commands."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.baselines.baseline import Baseline
from pipeline import evaluate, train
from pipeline.cache.listing import list_clips
from pipeline.config.loading import load_config
from pipeline.errors import UsageError
from pipeline.explanation.familiarity import load_familiarity
from pipeline.predictor import LaIARPredictor
from pipeline.samples.dataset import clip_dataset, collate_samples
from pipeline.weights.run_folder import (
    BANK,
    load_calibration,
    load_laiar,
    load_model,
    read_card,
    read_weights,
)
from tests.pipeline.cache_maker import SMALL, labelled_clip, put, random_cache

NETWORKS = ("transformer", "graph")
WORDS = ("train.epochs=1", "train.validation_fraction=0.3")
SELECTION = ("model.temporal_selection=true", "model.spatial_selection=true")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_cache(tmp_path_factory.mktemp("baselines") / "cache")


def fit(cache: Path, run: Path, *words: str) -> Path:
    data = ["--config", "configs/charades_oracle.yaml", "--cache", str(cache), "--run", str(run)]
    assert train.main([*data, *SMALL, *WORDS, *words]) == 0
    return run


def judge(cache: Path, run: Path, *words: str) -> dict[str, Any]:
    out = run if "--out" not in words else Path(words[1])
    assert evaluate.main(["--run", str(run), "--cache", str(cache), *words]) == 0
    tree: dict[str, Any] = json.loads((out / "metrics.json").read_text())
    return tree


@pytest.fixture(scope="module", params=NETWORKS)
def baseline(
    request: pytest.FixtureRequest, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    words = (f"model.network={request.param}", "train.least_share=0.5", *SELECTION)
    return fit(cache, folder / "run", *words)


def test_baseline_is_trained_with_l_v_alone(baseline: Path) -> None:
    rows = [json.loads(line) for line in (baseline / "log.jsonl").read_text().splitlines()]
    steps = [row for row in rows if row["kind"] == "step"]
    assert steps
    assert all(row["terms"].keys() == {"video"} for row in steps)  # the config has excerpts
    assert 0 <= rows[-1]["validation_map"] <= 1
    card = read_card(baseline)
    assert set(load_familiarity(baseline, card).normals) == {"token", "box"}
    found = load_calibration(baseline, card)
    assert found["scores"]["videos"] == card.training["validation_videos"]
    assert all(group["tokens"] == 0 for group in found["groups"].values())
    assert not (baseline / BANK).exists()


def test_evaluation_of_a_baseline_keeps_every_token(
    cache: Path, baseline: Path, tmp_path: Path
) -> None:
    tree = judge(cache, baseline)
    assert tree["num"] == tree["num_noise"] == tree["num_usable"] == tree["num_all"] > 0
    assert 0 <= tree["map_official"] <= 1
    assert {"calibration", "unfamiliar"} <= tree.keys()
    assert "warnings" not in tree or tree["warnings"] == ["RANDOM_WEIGHTS"]
    model, card = load_model(baseline, "cpu")
    assert isinstance(model, Baseline)
    data = clip_dataset(card, list_clips(cache, split="test")[0])
    batch = collate_samples([data[i] for i in range(len(data))])
    assert batch.tokens is not None
    saved = np.load(baseline / "scores.npz")
    place = [saved["ids"].tolist().index(name) for name in batch.video_ids]
    scores = model.recognize(batch.tokens).logits.sigmoid()
    np.testing.assert_allclose(saved["scores"][place], scores, atol=1e-5)
    half = judge(cache, baseline, "--out", str(tmp_path / "half"), "--keep", "half")
    assert tree["num"] / 2 <= half["num"] <= tree["num"] / 2 + 0.5


def test_baseline_has_no_explanation_and_the_error_says_so(baseline: Path) -> None:
    network = read_card(baseline).settings.network
    with pytest.raises(UsageError, match=f"explanations expected, .* model.network={network}"):
        LaIARPredictor.from_run(baseline, "device=cpu")


def test_baseline_with_one_action_per_video_is_evaluated_by_recall(tmp_path: Path) -> None:
    cache = random_cache(tmp_path / "cache", train=0, test=0)
    for split, num in (("train", 6), ("test", 4)):
        for number in range(num):
            clip = labelled_clip(number, split)
            actions = ((number % 5, 0.0, 0.5),)
            put(cache, replace(clip, header=replace(clip.header, actions=actions)))
    words = ("model.network=graph", "loss.multi_label=false", "loss.excerpts=0")
    run = fit(cache, tmp_path / "run", *words)
    assert 0 <= judge(cache, run)["mar"] <= 1


def test_another_network_cannot_be_resumed_in_the_folder_of_a_baseline(
    cache: Path, baseline: Path
) -> None:
    with pytest.raises(UsageError, match=r"model\.network=(graph|transformer) there, laiar here"):
        fit(cache, baseline, "train.least_share=0.5", *SELECTION)
    with pytest.raises(UsageError, match=r"'model.network=graph': this setting is fixed"):
        judge(cache, baseline, "model.network=graph")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["model.network=gcn"], "network: laiar or transformer or graph expected, got 'gcn'"),
        (["model.network=graph", "branch=language"], "branch=language: model.network=laiar"),
        (["model.network=graph", "model.votes=true"], "votes: no value or False expected"),
        (["model.network=transformer", "model.context=all"], "context: no value or none expected"),
        (
            ["model.shuffle_frames=true", "train.reversed_share=0.5"],
            "model.shuffle_frames=true: train.reversed_share=0 expected, got 0.5",
        ),
    ],
)
def test_contradicting_settings_are_rejected(words: list[str], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_config(None, words)
    assert says in str(caught.value)


def test_shuffled_frames_are_trained_and_evaluated(cache: Path, tmp_path: Path) -> None:
    run = fit(cache, tmp_path / "run", "model.shuffle_frames=true")
    first, again = (judge(cache, run) for _ in range(2))
    assert first == again
    card = read_card(run)
    assert clip_dataset(card, []).shuffle
    assert clip_dataset(card, [], seed=3).shuffle
    with pytest.raises(UsageError, match=r"model\.shuffle_frames=true"):
        load_laiar(run, "cpu")


def test_branches_with_separate_dt_formers_are_trained(cache: Path, tmp_path: Path) -> None:
    words = ("model.shared_transformer=false", "model.reading=false")
    run = fit(cache, tmp_path / "run", *words)
    assert 0 <= judge(cache, run)["map_official"] <= 1
    model, card = load_laiar(run, "cpu")
    assert model.language_former is not None
    torch.manual_seed(card.training["seed"])
    start, trained = card.build().state_dict(), read_weights(run)
    name = "former.encoder.blocks.0.attention.qkv.weight"
    for each in (name, f"language_{name}"):
        assert not torch.equal(trained[each], start[each])
    assert not torch.equal(trained[name], trained[f"language_{name}"])


def test_class_embeddings_are_part_of_the_visual_features(cache: Path, tmp_path: Path) -> None:
    widths = {}
    for value in ("true", "false"):
        run = fit(cache, tmp_path / value, f"model.class_embeddings={value}")
        assert 0 <= judge(cache, run)["map_official"] <= 1
        weights = read_weights(run)
        assert ("visual.object_class.weight" in weights) == (value == "true")
        widths[value] = weights["visual_encoder.project.0.weight"].shape[1]
    assert widths == {"true": 3 * 8 + 400, "false": 3 * 8}
