from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.settings import LaIARSettings
from model.tokens import TokenBatch
from pipeline.cache.clip import CachedClip
from pipeline.cache.listing import list_clips
from pipeline.errors import UsageError
from pipeline.explanation.familiarity import (
    MARGIN,
    Familiarity,
    Normal,
    _fit_normal,
    clip_features,
    fit_familiarity,
    load_familiarity,
    save_familiarity,
    unfamiliar_share,
)
from pipeline.samples.clip_tokens import clip_tokens
from pipeline.samples.dataset import ClipDataset
from pipeline.weights.model_card import ModelCard
from pipeline.weights.run_folder import FAMILIARITY
from tests.pipeline.cache_maker import cache_info, put, random_cache
from tests.pipeline.clips import random_clip

CARD = ModelCard(LaIARSettings(), cache_info(), "ground-truth", 8, 4)


def dataset(folder: Path, split: str | None = None) -> ClipDataset:
    return ClipDataset(list_clips(folder, split=split)[0], 5, num_frames=4, max_pairs=4)


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ClipDataset]:
    """Clips whose features have one strong direction, and the same clips turned by 90 degrees.

    The features are positive, as after a ReLU, because the features are scaled to unit length.
    """
    top, made = tmp_path_factory.mktemp("familiarity"), {}
    scale = torch.tensor([4.0, 2, 1, 1, 0.5, 0.5, 0.2, 0.2])
    for n, (name, num) in enumerate({"train": 80, "held": 40, "test": 150, "other": 30}.items()):
        folder = random_cache(top / name, train=0, test=0)
        for i in range(num):
            clip = random_clip([3, 4, 3, 4], 1000 * n + i, f"{name}{i:03d}")
            factor = scale.flip(0) if name == "other" else scale
            put(folder, replace(clip, box_features=clip.box_features.abs() * factor))
        made[name] = dataset(folder)
    return made


@pytest.fixture(scope="module")
def fitted(caches: dict[str, ClipDataset]) -> Familiarity:
    return fit_familiarity(caches["train"], caches["held"])


def tokens_of(clip: CachedClip) -> TokenBatch:
    return clip_tokens(clip, 4).batch


def test_held_out_videos_are_familiar_and_shifted_videos_are_not(
    caches: dict[str, ClipDataset], fitted: Familiarity
) -> None:
    share = unfamiliar_share(fitted, caches["test"])
    assert share is not None
    assert share <= 0.03
    assert unfamiliar_share(fitted, caches["other"]) == 1.0
    # Without the margin, about one percent of the videos is above the threshold.
    close = Familiarity(
        {k: replace(n, threshold=n.threshold / MARGIN) for k, n in fitted.normals.items()}
    )
    share = unfamiliar_share(close, caches["test"])
    assert share is not None
    assert share <= 0.05


def test_distance_equals_a_loop_over_tokens(
    caches: dict[str, ClipDataset], fitted: Familiarity
) -> None:
    data = caches["test"]
    clip = data.read(data.clips[0])
    rows = clip_features(clip, tokens_of(clip))["token"].double()
    assert rows.shape[1] == 2 * 8 + 4
    normal = fitted.normals["token"]
    u = normal.components.double()
    assert torch.allclose(u @ u.T, torch.eye(len(u), dtype=torch.float64), atol=2e-3)
    product = 1.0
    for x in rows:
        rest, total = x - normal.mean.double(), 0.0
        for direction, variance in zip(u, normal.variances, strict=True):
            along = float((x - normal.mean) @ direction)
            total += along**2 / float(variance)
            rest = rest - along * direction
        total += float(rest @ rest) / float(normal.noise)
        product *= (total / len(x)) ** (1 / len(rows))
    assert normal.distance(rows) == pytest.approx(product, rel=0.02)
    found = fitted.distance(clip, tokens_of(clip))
    assert found == pytest.approx(normal.distance(rows) / float(normal.threshold))


def test_mean_squared_distance_of_the_training_rows_is_one() -> None:
    torch.manual_seed(0)
    rows = torch.randn(4000, 100) * torch.linspace(0.05, 0.5, 100)
    normal = _fit_normal(rows)
    assert len(normal.variances) == 64
    mean = sum((normal.distance(row[None]) for row in rows[:1000]), 0.0) / 1000
    assert mean == pytest.approx(1.0, abs=0.05)


def test_boxes_judge_a_video_without_tokens(
    caches: dict[str, ClipDataset], fitted: Familiarity
) -> None:
    def distance(name: str) -> float:
        data = caches[name]
        clip = data.read(data.clips[0])
        alone = replace(
            clip,
            pairs=clip.pairs[:0],
            union_features=clip.union_features[:0],
            pair_offsets=torch.zeros_like(clip.pair_offsets),
            predicates={},
        )
        found = fitted.distance(alone, tokens_of(alone))
        assert found is not None
        return found

    assert distance("test") <= 1 < distance("other")
    empty = random_clip([0, 0])
    assert fitted.distance(empty, tokens_of(empty)) is None
    assert fitted.warnings(empty, tokens_of(empty)) == ()


def test_threshold_without_validation_videos_depends_on_training_videos(
    caches: dict[str, ClipDataset], fitted: Familiarity
) -> None:
    none = ClipDataset([], 5, num_frames=4, max_pairs=4)
    alone = fit_familiarity(caches["train"], none)
    for kind, normal in alone.normals.items():
        assert float(normal.threshold) <= float(fitted.normals[kind].threshold)
        assert torch.equal(normal.components, fitted.normals[kind].components)
    assert fit_familiarity(none, none).normals == {}
    assert unfamiliar_share(alone, none) is None


def test_saved_file_is_small_and_equal_after_loading(fitted: Familiarity, tmp_path: Path) -> None:
    save_familiarity(tmp_path, fitted)
    assert (tmp_path / FAMILIARITY).stat().st_size < 1_000_000
    loaded = load_familiarity(tmp_path, CARD)
    assert list(loaded.normals) == ["token", "box"]
    for kind, normal in fitted.normals.items():
        for name, value in vars(normal).items():
            assert torch.equal(getattr(loaded.normals[kind], name), value)


def test_file_for_the_features_of_the_paper_is_small(tmp_path: Path) -> None:
    def normal(size: int) -> Normal:
        noise, threshold = torch.ones(2).unbind()
        components = torch.zeros(64, size).half()
        return Normal(torch.zeros(size), components, torch.ones(64), noise, threshold.clone())

    save_familiarity(tmp_path, Familiarity({"token": normal(2 * 2048 + 1024), "box": normal(2048)}))
    assert (tmp_path / FAMILIARITY).stat().st_size < 1_000_000


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"token.mean": torch.zeros(3)}, "components expected"),
        ({"token.noise": torch.tensor(float("nan"))}, "noise: finite"),
        ({"token.noise": torch.tensor(0.0)}, "noise: positive"),
        ({"token.threshold": torch.ones(1)}, "threshold: a single value"),
        ({"box.mean": torch.zeros(8, dtype=torch.int64)}, "mean: finite float16 or float32"),
        ({"token.noise": torch.tensor(1e308, dtype=torch.float64)}, "noise: finite float16"),
        ({"hand.mean": torch.zeros(8)}, "token and box"),
        ({"box.extra": torch.zeros(8)}, "invalid familiarity file"),
    ],
)
def test_damaged_values_are_rejected(
    fitted: Familiarity, tmp_path: Path, changes: dict[str, Tensor], says: str
) -> None:
    save_familiarity(tmp_path, fitted)
    save_file(load_file(tmp_path / FAMILIARITY) | changes, tmp_path / FAMILIARITY)
    with pytest.raises(UsageError, match=says):
        load_familiarity(tmp_path, CARD)


def test_missing_damaged_and_foreign_files_are_rejected(
    fitted: Familiarity, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="Finish the training run"):
        load_familiarity(tmp_path, CARD)
    save_familiarity(tmp_path, fitted)
    with pytest.raises(UsageError, match="token: 36 features expected, got 20"):
        load_familiarity(tmp_path, replace(CARD, box_features=16))
    path = tmp_path / FAMILIARITY
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UsageError, match="invalid familiarity file"):
        load_familiarity(tmp_path, CARD)
