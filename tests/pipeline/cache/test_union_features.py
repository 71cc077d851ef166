import hashlib
import math
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.settings import LaIARSettings
from pipeline import train
from pipeline.cache.clip import clip_bytes
from pipeline.cache.folder import CacheInfo, ExtractionSettings, read_cache_info
from pipeline.cache.reader import load_clip
from pipeline.cache.union_features import (
    check_union,
    frozen_projection,
    reduce_union,
    stored_channels,
)
from pipeline.config.loading import load_config
from pipeline.config.schema import Config
from pipeline.datasets.vocabulary import Vocabulary
from pipeline.errors import UsageError
from pipeline.evaluate import check_fits
from pipeline.extract import main as extract
from pipeline.extraction.clip import clip_fingerprint, extraction_settings
from pipeline.weights.detectors import resolve_detector
from pipeline.weights.model_card import ModelCard
from tests.pipeline.clips import random_clip, save_clip
from tests.pipeline.dataset_maker import write_dataset
from tests.pipeline.predictor_files import predictor_file
from tests.pipeline.test_extract import SMALL
from tools import cache as cache_tool

ROOT = Path(__file__).resolve().parents[3]
#: Settings of a detector with Cu = 16 x 16 = 256 union channels, the minimum for conv256.
WIDE = [w for w in SMALL if "width" not in w] + ["detection.width=16", "decode.workers=0"]


def test_frozen_convolution_is_orthonormal_and_reproducible() -> None:
    weight = frozen_projection(1024)
    assert torch.equal(weight @ weight.T, torch.eye(256))
    assert set(weight.unique().tolist()) == {-1 / 32, 1 / 32}
    bits = np.packbits((weight > 0).numpy()).tobytes()
    assert hashlib.sha256(bits).hexdigest()[:16] == "eae690ad40d2a3e6"
    odd = frozen_projection(300)
    assert odd.shape == (256, 300)
    assert odd.abs().unique().tolist() == pytest.approx([1 / math.sqrt(512)])
    with pytest.raises(ValueError, match="at least 256"):
        frozen_projection(255)


def test_conv256_equals_a_convolution_in_plain_loops() -> None:
    g = torch.Generator().manual_seed(0)
    clip = random_clip([3, 2])
    wide = torch.randn(len(clip.pairs), 260, 7, 7, generator=g)
    clip = replace(clip, union_features=wide)
    found = reduce_union(clip, "conv256").union_features
    weight = frozen_projection(260)
    for p, o, i, j in ((0, 0, 0, 0), (2, 255, 6, 3), (1, 17, 2, 6)):
        slow = sum(float(weight[o, c]) * float(wide[p, c, i, j]) for c in range(260))
        assert float(found[p, o, i, j]) == pytest.approx(slow, abs=1e-4)
    assert found.shape == (3, 256, 7, 7)
    assert reduce_union(clip, "none").union_features.shape == (3, 0, 7, 7)
    assert reduce_union(clip, "full") is clip
    assert [stored_channels(k, 1024) for k in ("full", "conv256", "none")] == [1024, 256, 0]
    with pytest.raises(UsageError, match="at least 256"):
        check_union("conv256", (128, 64))
    check_union("conv256", None)


@given(st.floats(-65000, 65000, width=32))
def test_float16_storage_keeps_eleven_bits(value: float) -> None:
    """The error is at most 2^-11 of the value, or 2^-25 for values below 2^-14."""
    stored = float(torch.tensor(value).half().float())
    assert abs(stored - value) <= max(abs(value) * 2**-11, 2**-25)


def test_memory_format_does_not_change_the_stored_bytes(tmp_path: Path) -> None:
    clip = random_clip([3, 2, 4])
    strange = replace(
        clip,
        boxes=clip.boxes.T.contiguous().T,
        pairs=clip.pairs.flip(0).flip(0).T.contiguous().T,
        union_features=clip.union_features.to(memory_format=torch.channels_last),
    )
    assert not strange.boxes.is_contiguous()
    assert clip_bytes(strange) == clip_bytes(clip)
    save_clip(tmp_path / "a.safetensors", strange)
    assert torch.equal(load_clip(tmp_path / "a.safetensors").boxes, clip.boxes)
    # The numpy interface of safetensors 0.8.0 stores wrong values for such arrays.
    for path in ROOT.glob("*/**/*.py"):
        if ".venv" not in path.parts:
            assert "safetensors." + "numpy" not in path.read_text(encoding="utf-8"), path


@pytest.mark.parametrize(("kind", "channels"), [("full", 256), ("conv256", 256), ("none", 0)])
def test_extraction_stores_each_kind_of_union_features(
    kind: str, channels: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos, annotations = write_dataset(tmp_path)
    cache = tmp_path / "cache"
    weights = predictor_file(tmp_path / "p.safetensors", 512, 256)
    predicted = ["relations=predicted", f"relation_predictor.weights={weights}"]
    data = ["--videos", str(videos), "--annotations", str(annotations), "--cache", str(cache)]
    words = [*data, *WIDE, "boxes=ground-truth", f"union={kind}"]
    assert extract(words) == 0
    assert load_clip(cache / "A0001.safetensors").union_features.shape[1] == channels
    assert read_cache_info(cache).settings.union == kind
    with pytest.raises(UsageError, match=r"settings\.union"):
        extract(
            [*data, *WIDE, "boxes=ground-truth", f"union={'none' if kind == 'full' else 'full'}"]
        )
    asked = ["add", str(cache), *predicted]
    if kind == "full":
        assert cache_tool.main(asked) == 0
    else:
        with pytest.raises(UsageError, match="union=full expected"):
            cache_tool.main(asked)
    # Relations are predicted before the features are reduced. Every kind has the same predictions.
    assert extract([*words, *predicted]) == 0
    clip = load_clip(cache / "A0001.safetensors")
    assert clip.union_features.shape[1] == channels
    whole = tmp_path / "whole"
    assert extract([*data[:-1], str(whole), *WIDE, "boxes=ground-truth", *predicted]) == 0
    other = load_clip(whole / "A0001.safetensors")
    assert torch.equal(clip.predicates["predicted"], other.predicates["predicted"])
    if kind == "none":
        with pytest.raises(UsageError, match="created with union=none"):
            train.main(["--cache", str(cache), "--run", str(tmp_path / "run"), "device=cpu"])


def test_network_and_cache_require_the_same_kind_of_union_features() -> None:
    def info(**settings: Any) -> CacheInfo:
        return CacheInfo(ExtractionSettings("detected", **settings), {}, ("person",), {})

    card = ModelCard(LaIARSettings(), info(union="conv256"), "none", 8, 256)
    check_fits(card, info(union="conv256"), Path("c"))
    with pytest.raises(UsageError, match=r"union=conv256 expected .* has union=full"):
        check_fits(card, info(), Path("c"))


#: Maps each key to (a value other than the default, whether it determines the content of clips).
KEYS: dict[str, tuple[Any, bool]] = {
    "dataset": (None, False),
    "vocabulary": ("other", True),
    "boxes": ("ground-truth", True),
    "relations": ("ground-truth", False),
    "union": ("none", True),
    "pairs": (None, True),
    "occluded": (None, True),
    "features": (None, True),
    "device": ("cpu", False),
    "max_failures": (3, False),
    "decode.backend": ("opencv", True),
    "decode.fps": (None, False),
    "decode.tolerant": ("true", True),
    "decode.max_pixels": (1000, False),
    "decode.max_frames": (1000, False),
    "decode.timeout_s": (5, False),
    "decode.workers": (3, False),
    "decode.memory_gb": (1, False),
    "frames.num": (7, True),
    "detection.weights": (None, False),
    "detection.backend": (None, False),
    "detection.config": (None, False),
    "detection.mode": ("exact", True),
    "detection.compile": (None, False),
    "detection.preset": ("detectron2-c4", True),
    "detection.depth": (50, True),
    "detection.width": (8, True),
    "detection.fpn_channels": (None, False),
    "detection.head_width": (None, False),
    "detection.anchor_scale": (0.5, True),
    "detection.short_side": (300, True),
    "detection.proposals": (50, True),
    "detection.score_threshold": (0.3, True),
    "detection.nms_threshold": (0.3, True),
    "detection.max_boxes": (5, True),
    "detection.seed": (1, True),
    "detection.batch_size": (4, False),
}
#: Settings of later stages, and of the relation predictor, which the clip header describes.
LATER = (
    "model.",
    "loss.",
    "train.",
    "predict.",
    "relation_predictor.",
    "branch",
    "fold",
    "inverse_pairs",
    "classes",
)


def keys_of(tree: Any, prefix: str = "") -> list[str]:
    found = []
    for field in fields(tree):
        value = getattr(tree, field.name)
        name = f"{prefix}{field.name}"
        found += keys_of(value, f"{name}.") if is_dataclass(value) else [name]
    return found


def test_every_setting_is_listed() -> None:
    assert {k for k in keys_of(Config()) if not k.startswith(LATER)} == KEYS.keys()


@pytest.mark.parametrize("key", [k for k, (value, _) in KEYS.items() if value is not None])
def test_fingerprint_changes_only_with_settings_that_determine_content(key: str) -> None:
    def fingerprint(words: list[str]) -> str:
        config = load_config(None, ["detection.weights=random", "detection.depth=26", *words])
        settings = extraction_settings(config, Vocabulary(("person", "cup"), {}))
        return clip_fingerprint("00", settings, resolve_detector(config.detection), None)

    value, determines = KEYS[key]
    assert (fingerprint([f"{key}={value}"]) != fingerprint([])) == determines
