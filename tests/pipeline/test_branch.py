"""The language branch alone, on a cache of scripts without pixels."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline import evaluate, predict, train
from pipeline.cache.listing import list_clips
from pipeline.errors import UsageError
from pipeline.samples.clip_tokens import reverse_tokens
from pipeline.samples.dataset import Sample, clip_dataset
from pipeline.weights.run_folder import load_model
from tools import study_world
from tools.world.annotated_script import annotate, bag, changes, shuffled
from tools.world.plot import write_script
from tools.world.rules import load_rules
from tools.world.script import Settings

WORDS = (
    "boxes=ground-truth",
    "relations=ground-truth",
    "branch=language",
    "detection.weights=null",
    "inverse_pairs=configs/world/actions.yaml",
    "device=cpu",
    "model.dim=32",
    "model.layers=1",
    "train.epochs=2",
    "model.temporal_selection=false",
    "model.spatial_selection=false",
    "train.lr=0.01",
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scripts") / "cache"
    assert study_world.main(["--train", "40", "--test", "30", "--cache", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def run(cache: Path) -> Path:
    folder = cache.parent / "run"
    words = ["--config", "configs/world.yaml", "--cache", str(cache), "--run", str(folder), *WORDS]
    assert train.main(words) == 0
    return folder


def test_language_branch_is_trained_and_evaluated_without_pixels(run: Path, cache: Path) -> None:
    assert evaluate.main(["--run", str(run), "--cache", str(cache)]) == 0
    tree = json.loads((run / "metrics.json").read_text())
    assert tree["branch"] == "language"
    assert tree["videos"] == 30
    assert tree["inverse_pairs"]["cases"] > 10
    assert 0 <= tree["inverse_pairs"]["accuracy"] <= 1
    model, card = load_model(run, "cpu")
    saved = np.load(run / "scores.npz")
    clips = {c.video_id: c for c in list_clips(cache, split="test")[0]}
    tokens = clip_dataset(card, [clips[str(saved["ids"][0])]], relations=True)[0]
    assert isinstance(tokens, Sample)
    for name, batch in (("scores", tokens.tokens), ("reversed", reverse_tokens(tokens.tokens))):
        with torch.no_grad():
            scores = model.eval().read_relations(batch).logits.sigmoid()
        np.testing.assert_allclose(saved[name][0], scores[0], atol=1e-5)
    assert not np.allclose(saved["scores"], saved["reversed"], atol=1e-4)
    assert card.branch == "language"
    assert model.visual is None
    assert not (run / "label_bank.safetensors").exists()
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    steps = [row for row in rows if row["kind"] == "step"]
    assert all(set(row["terms"]) == {"language", "selection", "excerpts"} for row in steps)
    losses = [row["loss"] for row in steps]
    assert sum(losses[-2:]) < sum(losses[:2])


def test_shuffled_videos_have_the_same_frames_in_another_order() -> None:
    rules = load_rules()
    video = annotate(rules, write_script(rules, Settings(seed=0), "train", 0))
    other = shuffled(video, [0, 1])
    assert other.times_s == video.times_s
    assert other.frames != video.frames
    assert Counter(map(tuple, other.frames)) == Counter(map(tuple, video.frames))
    assert bag(other) == pytest.approx(bag(video))
    assert shuffled(video, [0, 1]) == other


def test_changes_between_kept_tokens_equal_plain_loops() -> None:
    rules = load_rules()
    video = annotate(rules, write_script(rules, Settings(seed=0), "train", 3))
    keep = np.random.default_rng(0).random((len(video.frames), len(video.objects))) < 0.5
    found: Counter[str] = Counter()
    relations: Counter[str] = Counter()
    for k, name in enumerate(video.objects):
        last = None
        for t, frame in enumerate(video.frames):
            if not keep[t, k]:
                continue
            relations.update(f"{name} {p}" for p in frame[k])
            if last is not None:
                gone, come = last - frame[k], frame[k] - last
                found.update(f"{name} {a} > {b}" for a in gone for b in come)
                found.update(f"{name} {a} > " for a in gone)
                found.update(f"{name}  > {b}" for b in come)
            last = frame[k]
    assert changes(video, keep) == dict(found)
    assert found != changes(video)
    frames = len(video.frames)
    assert bag(video, keep) == {key: n / frames for key, n in relations.items()}
    for reader in (bag, changes):
        assert reader(video, np.ones_like(keep)) == reader(video)


def test_finished_run_is_not_repeated_and_predicts_no_videos(
    run: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--config", "configs/world.yaml", "--cache", str(cache), "--run", str(run), *WORDS]
    assert train.main(words) == 0
    assert "nothing to do" in capsys.readouterr().out
    with pytest.raises(UsageError, match="trained with branch=language"):
        predict.main(["--run", str(run), "clip.mp4", "--out", str(tmp_path)])
    with pytest.raises(UsageError, match="a new or empty folder expected"):
        study_world.main(["--train", "1", "--test", "1", "--cache", str(cache)])
    with pytest.raises(UsageError, match="--share: above 0 and at most 1 expected, got 0"):
        study_world.main(["--train", "1", "--test", "1", "--share", "0"])
