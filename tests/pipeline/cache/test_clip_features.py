import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from pipeline.cache.clip_features import (
    INFO,
    ClipFeatureInfo,
    ClipFeatures,
    check_folder,
    feature_path,
    open_folder,
    store_feature,
)
from pipeline.errors import FailureReason, ItemError, UsageError

KIND = ClipFeatureInfo("r3d_18", "f" * 64, 10, 16, 15.0, {"crop_size": [112, 112]}, 4)
VECTOR = torch.tensor([0.5, -1.25, 3e-30, 7e20])


@pytest.fixture
def features(tmp_path: Path) -> ClipFeatures:
    folder = tmp_path / "features"
    open_folder(folder, KIND)
    store_feature(folder, "A1", VECTOR, KIND, "mark")
    return ClipFeatures.open(folder, "--out")


def test_stored_vectors_are_read_again(features: ClipFeatures) -> None:
    assert features.info == KIND
    assert torch.equal(features.read("A1"), VECTOR)
    assert features.fingerprint("A1") == "mark"
    assert features.fingerprint("A2") is None
    open_folder(features.folder, KIND)
    assert torch.equal(features.read("A1"), VECTOR)


def test_missing_vector_is_a_failure_by_name(features: ClipFeatures) -> None:
    with pytest.raises(ItemError, match="A2: clip feature not found") as caught:
        features.read("A2")
    assert caught.value.reason is FailureReason.BAD_CACHE


@pytest.mark.parametrize(
    ("vector", "says"),
    [
        (torch.tensor([0.0, float("nan"), 0.0, 0.0]), "NaN or infinity"),
        (torch.tensor([0.0, float("inf"), 0.0, 0.0]), "NaN or infinity"),
        (torch.zeros(5), r"\(4,\) F32 expected, got \('F32', \[5\]\)"),
        (torch.zeros(1, 4), r"\(4,\) F32 expected"),
        (torch.zeros(4, dtype=torch.float16), r"\(4,\) F32 expected, got \('F16'"),
        (torch.zeros(0), r"\(4,\) F32 expected"),
    ],
)
def test_vector_of_another_shape_or_with_nan_is_rejected(
    features: ClipFeatures, vector: torch.Tensor, says: str
) -> None:
    with pytest.raises(ItemError, match="a finite clip feature expected"):
        store_feature(features.folder, "A1", torch.full((4,), float("nan")), KIND, "mark")
    _rewrite(feature_path(features.folder, "A1"), vector)
    with pytest.raises(ItemError, match=says):
        features.read("A1")


def test_changed_moved_and_damaged_vectors_are_rejected(features: ClipFeatures) -> None:
    path = feature_path(features.folder, "A1")
    feature_path(features.folder, "A2").write_bytes(path.read_bytes())
    with pytest.raises(ItemError, match=r"A2: .* the id of the vector differs"):
        features.read("A2")
    other = replace(features, info=replace(KIND, weights="e" * 64))
    with pytest.raises(ItemError, match="the info of the vector differs"):
        other.read("A1")
    data = path.read_bytes()
    for damaged in (data[:-1], data[:20], b"", b"\xff" * 40, data[:8] + b"[" * 40):
        path.write_bytes(damaged)
        with pytest.raises(ItemError, match="A1: "):
            features.read("A1")
        assert features.fingerprint("A1") is None
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ItemError, match="the sha256 of the vector differs"):
        features.read("A1")
    save_file({"other": VECTOR}, path)
    with pytest.raises(ItemError, match="A1: "):
        features.read("A1")


def test_folder_of_another_network_or_without_info_is_refused(features: ClipFeatures) -> None:
    with pytest.raises(UsageError, match=r"--out: .*network=r3d_18 expected, got s3d"):
        open_folder(features.folder, replace(KIND, network="s3d"))
    with pytest.raises(UsageError, match=r"weights=f+ expected"):
        check_folder(features.folder, replace(KIND, weights="e" * 64))
    (features.folder / INFO).unlink()
    with pytest.raises(UsageError, match=r"has tensors but no clip_features\.json"):
        open_folder(features.folder, KIND)
    with pytest.raises(UsageError, match=r"clip_features.json not found"):
        ClipFeatures.open(features.folder, "model.clip_features")


@pytest.mark.parametrize(
    "change",
    [{"width": 0}, {"width": "4"}, {"rate": 0}, {"clips": None}, {"schema": "x"}, {"a": 1}],
)
def test_hostile_info_is_rejected(features: ClipFeatures, change: dict) -> None:
    tree = KIND.to_dict() | change
    (features.folder / INFO).write_text(json.dumps(tree))
    with pytest.raises(UsageError, match=r"model.clip_features: .*clip_features.json"):
        ClipFeatures.open(features.folder, "model.clip_features")


def test_decoder_counts_only_on_request() -> None:
    other = replace(KIND, backend="frames", fps=15.0)
    assert KIND.difference(other) == "backend=pyav expected, got frames"
    assert KIND.difference(other, decoder=False) is None
    assert KIND.difference(KIND) is None


def _rewrite(path: Path, vector: torch.Tensor) -> None:
    """Replace the vector in a file, with the SHA-256 of the new one in the header."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    digest = hashlib.sha256(vector.numpy().tobytes()).hexdigest()
    save_file({"feature": vector}, path, metadata | {"sha256": digest})
