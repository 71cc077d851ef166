import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline.cache.clip import CachedClip, clip_bytes
from pipeline.cache.clip_checks import check_inside
from pipeline.cache.reader import ClipReader, load_clip
from pipeline.errors import FailureReason, ItemError
from pipeline.extraction.relation_prediction import check_features, predict_relations
from pipeline.samples.dataset import check_finite
from relations.sttran import STTran
from tests.pipeline.clips import random_clip, save_clip
from tests.pipeline.predictor_files import small_settings

Change = Callable[[dict[str, torch.Tensor]], None]


def put(name: str, at: tuple[int, ...], value: float) -> Change:
    def change(arrays: dict[str, torch.Tensor]) -> None:
        arrays[name][at] = value

    return change


def shape(name: str, *sizes: int) -> Change:
    def change(arrays: dict[str, torch.Tensor]) -> None:
        arrays[name] = torch.zeros(sizes, dtype=arrays[name].dtype)

    return change


def as_float(name: str) -> Change:
    def change(arrays: dict[str, torch.Tensor]) -> None:
        arrays[name] = arrays[name].double()

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (put("labels", (0,), 5), "labels: 0 to 4 expected"),
        (put("labels", (0,), -1), "labels: 0 to 4 expected"),
        (put("boxes", (0, 0), 9999.0), "inverted"),
        (put("pairs", (0, 1), 9), "a row out of range"),
        (put("predicates/ground-truth", (0, 0), float("nan")), "0 to 1 expected"),
        (put("predicates/ground-truth", (0, 0), 1.5), "0 to 1 expected"),
        (shape("boxes", 5, 3), "boxes: shape"),
        (shape("union_features", 3, 4, 7, 6), "union_features: shape"),
        (shape("box_features", 5), "box_features: shape"),
        (shape("pair_offsets", 3), "pair_offsets"),
        (put("box_offsets", (1,), 6), "box_offsets: 3 non-decreasing int64 from 0 to 5"),
        (put("box_offsets", (0,), 1), "box_offsets: 3 non-decreasing int64 from 0 to 5"),
        (as_float("box_offsets"), "box_offsets: 3 non-decreasing int64 from 0 to 5"),
        (as_float("labels"), "labels: int64 expected"),
        (as_float("pairs"), "pairs: int64 expected"),
        (put("pairs", (0, 1), -1), "a row out of range"),
    ],
)
def test_file_with_invalid_arrays_is_reported_as_bad_cache(
    tmp_path: Path, change: Change, says: str
) -> None:
    path = tmp_path / "clip.safetensors"
    save_clip(path, random_clip([3, 2]))
    arrays, header = load_file(path), ClipReader(path).header
    change(arrays)
    save_file(arrays, path, metadata={"laiar": header.to_json()})
    with pytest.raises(ItemError, match=says) as failed:
        load_clip(path)
    assert failed.value.reason is FailureReason.BAD_CACHE


def test_predicates_with_a_wrong_number_of_rows_are_reported_as_bad_cache(tmp_path: Path) -> None:
    path = tmp_path / "clip.safetensors"
    save_clip(path, random_clip([3, 2]))
    arrays, header = load_file(path), ClipReader(path).header
    arrays["predicates/ground-truth"] = torch.zeros(9, 6, dtype=torch.float16)
    save_file(arrays, path, metadata={"laiar": header.to_json()})
    with pytest.raises(ItemError, match="predicates/ground-truth: 3 rows expected, got 9"):
        ClipReader(path)
    save_clip(path, random_clip([3, 2]))
    with pytest.raises(ItemError, match="predicted"):
        ClipReader(path).has_relations("predicted")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"num_uniform": []}, "num_uniform: int expected, got list"),
        ({"num_uniform": 0}, "num_uniform: at least 1 expected, got 0"),
        ({"num_uniform": 4, "source": {}}, r"source\.num_frames: missing"),
        ({"source": None}, "source: a JSON object expected, got NoneType"),
        ({"actions": [[-1, 0.0, 1.0]]}, "actions: class indices of at least 0 expected"),
        ({"actions": [[1, 0.0]]}, "actions: 3 items expected, got 2"),
        ({"split": 3}, "split: str expected, got int"),
        ({"teapot": 1}, "teapot: no such field"),
        ({"schema": "laiar.clip/0"}, "schema: laiar.clip/1 expected, got laiar.clip/0"),
    ],
)
def test_invalid_header_is_reported_as_bad_cache(tmp_path: Path, change: dict, says: str) -> None:
    path = tmp_path / "clip.safetensors"
    save_clip(path, random_clip([3, 2]))
    arrays, header = load_file(path), ClipReader(path).header
    save_file(arrays, path, metadata={"laiar": json.dumps(header.to_dict() | change)})
    with pytest.raises(ItemError, match=says) as failed:
        ClipReader(path)
    assert failed.value.reason is FailureReason.BAD_CACHE


def with_nan(clip: CachedClip) -> CachedClip:
    """Add a NaN that the checks of the constructor do not detect."""
    broken = replace(clip, predicates={"predicted": torch.zeros(len(clip.pairs), 6)})
    broken.predicates["predicted"][0, 0] = float("nan")
    return broken


def test_nan_predicates_are_neither_stored_nor_used_for_training() -> None:
    clip = with_nan(random_clip([3, 2]))
    with pytest.raises(ItemError, match="finite float16 values of predicates/predicted expected"):
        clip_bytes(clip)
    with pytest.raises(ItemError, match="finite predicates/predicted expected"):
        check_finite(clip)


def test_predictor_with_nan_output_or_other_feature_sizes_is_rejected() -> None:
    clip = random_clip([3, 2])
    settings = small_settings(8, 4)
    model = STTran(settings).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(float("nan"))
    with pytest.raises(ItemError, match="finite probabilities"):
        predict_relations(clip, model)
    with pytest.raises(ItemError, match="box_features of 9 channels expected"):
        check_features(clip, replace(settings, feature_width=9))
    with pytest.raises(ItemError, match="union_features of 9 channels expected"):
        check_features(clip, replace(settings, union_channels=9))
    with pytest.raises(ItemError, match="labels below 2 expected"):
        check_features(clip, replace(settings, num_objects=2))


@pytest.mark.parametrize(
    ("box", "is_inside"),
    [
        ([0.0, 0.0, 64.0, 48.0], True),
        ([63.5, 0.0, 64.5, 48.0], True),
        ([0.0, 0.0, 66.0, 48.0], False),
        ([0.0, 0.0, 64.0, 50.0], False),
        ([-2.0, 0.0, 64.0, 48.0], False),
        ([0.0, float("nan"), 64.0, 48.0], False),
    ],
)
def test_boxes_outside_their_frames_are_refused(box: list[float], is_inside: bool) -> None:
    boxes = torch.tensor([[1.0, 2.0, 3.0, 4.0], box])
    with nullcontext() if is_inside else pytest.raises(ValueError, match="frames of 64x48"):
        check_inside(boxes, 64, 48)
