import json
import tempfile
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.cache.clip import CachedClip, clip_bytes
from pipeline.cache.folder import CacheInfo, ExtractionSettings, read_cache_info, write_cache_info
from pipeline.cache.reader import ClipReader, load_clip
from pipeline.errors import FailureReason, ItemError, UsageError
from pipeline.extraction.job import check_cache
from pipeline.runtime.files import file_sha256, json_sha256
from tests.pipeline.cache_maker import cache_info, forge, put
from tests.pipeline.clips import random_clip, save_clip


def assert_equal(a: CachedClip, b: CachedClip) -> None:
    assert a.header == b.header
    for field in fields(a):
        left, right = getattr(a, field.name), getattr(b, field.name)
        if isinstance(left, Tensor):
            assert torch.equal(left, right), field.name
            assert left.dtype == right.dtype, field.name
    assert a.predicates.keys() == b.predicates.keys()
    for source, value in a.predicates.items():
        assert torch.equal(value, b.predicates[source])


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.data())
@settings(max_examples=40, deadline=None)
def test_loaded_clip_equals_the_stored_one(counts: list[int], data: st.DataObject) -> None:
    clip = random_clip(counts)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "CLIP1.safetensors"
        digest = save_clip(path, clip)
        assert digest == file_sha256(path)
        assert_equal(load_clip(path), clip)
        assert [p.name for p in Path(folder).iterdir()] == ["CLIP1.safetensors"]
        rows = sorted(data.draw(st.sets(st.integers(0, len(counts) - 1))))
        part = ClipReader(path).read(rows)
    frame_of_box = torch.repeat_interleave(torch.arange(len(counts)), clip.box_offsets.diff())
    mine = torch.isin(frame_of_box, torch.tensor(rows, dtype=torch.int64))
    assert torch.equal(part.boxes, clip.boxes[mine])
    assert torch.equal(part.box_features, clip.box_features[mine])
    pair_mine = torch.isin(clip.pair_frame, torch.tensor(rows, dtype=torch.int64))
    assert torch.equal(part.union_features, clip.union_features[pair_mine])
    assert torch.equal(part.boxes[part.pair_rows], clip.boxes[clip.pair_rows[pair_mine]])
    assert torch.equal(part.frame_index, clip.frame_index[rows])


def test_labels_are_those_of_frames_with_relations(tmp_path: Path) -> None:
    clip = random_clip([4, 3, 4])
    rows = clip.pair_frame
    clip.predicates["ground-truth"][:] = (torch.arange(len(rows)) % 2)[:, None].float()
    clip.predicates["ground-truth"][rows == 1] = 0.0
    save_clip(tmp_path / "a.safetensors", clip)
    pairs, predicates = ClipReader(tmp_path / "a.safetensors").labels("ground-truth")
    here = rows != 1
    assert torch.equal(pairs, clip.labels[clip.pair_rows[here]])
    assert torch.equal(predicates, clip.predicates["ground-truth"][here].float())
    assert 0 < int(predicates.any(1).sum()) < len(predicates)


def test_equal_clips_have_equal_bytes() -> None:
    assert clip_bytes(random_clip([2, 0, 3])) == clip_bytes(random_clip([2, 0, 3]))
    assert clip_bytes(random_clip([2, 0, 3])) != clip_bytes(random_clip([2, 0, 3], seed=1))


def test_non_contiguous_arrays_are_stored_correctly(tmp_path: Path) -> None:
    clip = random_clip([3, 2])
    turned = replace(clip, box_features=clip.box_features.t().contiguous().t())
    assert not turned.box_features.is_contiguous()
    save_clip(tmp_path / "a.safetensors", turned)
    assert_equal(load_clip(tmp_path / "a.safetensors"), clip)


def test_feature_out_of_float16_range_is_rejected_and_leaves_no_file(tmp_path: Path) -> None:
    clip = random_clip([2])
    clip = replace(clip, box_features=clip.box_features * 1e6)
    with pytest.raises(ItemError, match="finite float16 values of box_features expected") as caught:
        save_clip(tmp_path / "a.safetensors", clip)
    assert caught.value.reason is FailureReason.INTERNAL_ERROR
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["truncated", "text", "absent", "other-schema", "folder"])
def test_error_message_contains_the_path_of_the_damaged_file(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "CLIP1.safetensors"
    data = clip_bytes(random_clip([2, 1]))
    if damage == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "text":
        path.write_text("hello")
    elif damage == "other-schema":
        path.write_bytes(data.replace(b"laiar.clip/1", b"laiar.clip/9"))
    elif damage == "folder":
        path.mkdir()
    with pytest.raises(ItemError, match="extract it again") as caught:
        load_clip(path)
    assert caught.value.reason is FailureReason.BAD_CACHE
    assert path.name in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("box_offsets", torch.tensor([0, 3, 2])),
        ("pair_offsets", torch.tensor([0, 1])),
        ("pairs", torch.tensor([[0, 9], [0, 1]])),
        ("scores", torch.zeros(1)),
        ("pairs", torch.tensor([[0.0, 1.0], [0.0, 1.0]])),
        ("boxes", torch.zeros(4, 5)),
        ("boxes", torch.tensor([[5.0, 0, 4, 1]] * 4)),
        ("boxes", torch.tensor([[0.0, 5, 1, 4]] * 4)),
        ("labels", torch.tensor([0, 1, 0, 5])),
        ("labels", torch.tensor([0, 1, 0, -1])),
        ("labels", torch.zeros(4)),
        ("distribution", torch.zeros(4)),
        ("union_features", torch.zeros(2, 4, 7, 6)),
        ("predicates", {"predicted": torch.zeros(2)}),
        ("predicates", {"predicted": torch.tensor([[0.0, torch.nan]] * 2)}),
        ("predicates", {"predicted": torch.tensor([[0.0, 1.01]] * 2)}),
        ("predicates", {"predicted": torch.tensor([[-0.01, 0.0]] * 2)}),
    ],
)
def test_inconsistent_arrays_are_rejected(field: str, value: Tensor | dict) -> None:
    clip = random_clip([2, 2])
    with pytest.raises(ValueError, match=field):
        replace(clip, **{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pair_offsets", torch.tensor([0, 1, 9])),
        ("pair_offsets", torch.tensor([0])),
        ("pair_offsets", torch.zeros(3)),
        ("predicates/ground-truth", torch.ones(3, 6)),
        ("predicates/ground-truth", torch.ones(2)),
    ],
)
def test_file_with_inconsistent_arrays_is_reported_as_bad_cache(
    tmp_path: Path, name: str, value: Tensor
) -> None:
    put(tmp_path, random_clip([2, 2]))
    forge(tmp_path, "CLIP1", **{name: value})
    path = tmp_path / "CLIP1.safetensors"
    for read in (load_clip, lambda path: ClipReader(path).has_relations("ground-truth")):
        with pytest.raises(ItemError, match=r"CLIP1\.safetensors: a readable") as caught:
            read(path)
        assert caught.value.reason is FailureReason.BAD_CACHE


def test_nan_predicate_is_not_stored(tmp_path: Path) -> None:
    clip = random_clip([2])
    clip.predicates["ground-truth"][0, 0] = torch.nan
    with pytest.raises(ItemError, match="float16 values of predicates/ground-truth expected"):
        save_clip(tmp_path / "a.safetensors", clip)
    assert list(tmp_path.iterdir()) == []


def test_rows_must_increase() -> None:
    with tempfile.TemporaryDirectory() as folder:
        save_clip(Path(folder) / "a.safetensors", random_clip([1, 1]))
        reader = ClipReader(Path(folder) / "a.safetensors")
        for rows in ([1, 0], [0, 0], [2], [-1]):
            with pytest.raises(ValueError, match="increasing"):
                reader.read(rows)


def test_cache_info_keeps_the_order_of_predicate_groups(tmp_path: Path) -> None:
    groups = {"spatial": ("on", "in"), "attention": ("looking_at",)}
    info = CacheInfo(ExtractionSettings("detected"), {}, ("person",), groups, (("c000", "Sit"),))
    write_cache_info(tmp_path, info)
    assert read_cache_info(tmp_path) == info
    assert list(read_cache_info(tmp_path).predicate_groups) == ["spatial", "attention"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"settings": {"union": []}}, "union: str expected, got list"),
        ({"settings": {"union": "nope"}}, "union: one of full, conv256, none expected"),
        ({"settings": {"frames": "x"}}, "frames: int expected, got str"),
        ({"settings": {"fps": -1}}, "fps: 0.01 to 1000000 expected"),
        ({"settings": {"teapot": 1}}, r"settings\.teapot: no such field"),
        ({"classes": [["a", "b"], ["a", "c"]]}, "classes: unique names expected"),
        ({"classes": [["a"]]}, "classes: 2 items expected, got 1"),
        ({"objects": None}, "objects: tuple expected"),
        ({"schema": "laiar.cache/0"}, "laiar.cache/1 file expected: got schema laiar.cache/0"),
    ],
)
def test_invalid_cache_info_is_rejected(tmp_path: Path, change: dict, says: str) -> None:
    write_cache_info(tmp_path, cache_info())
    tree = json.loads((tmp_path / "cache.json").read_text()) | change
    del tree["sha256"]
    (tmp_path / "cache.json").write_text(json.dumps(tree | {"sha256": json_sha256(tree)}))
    with pytest.raises(UsageError, match=rf"cache\.json: .*{says}"):
        read_cache_info(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", "[" * 100_000, "\xff"])
def test_invalid_cache_json_is_rejected(tmp_path: Path, text: str) -> None:
    (tmp_path / "cache.json").write_text(text, encoding="latin-1")
    with pytest.raises(UsageError, match=r"cache\.json: a laiar\.cache/1 file expected"):
        read_cache_info(tmp_path)


def test_settings_missing_from_cache_json_have_default_values(tmp_path: Path) -> None:
    info = CacheInfo(ExtractionSettings("detected", frames=4), {}, ("person",), {})
    write_cache_info(tmp_path, info)
    tree = json.loads((tmp_path / "cache.json").read_text())
    del tree["sha256"], tree["settings"]["union"]
    (tmp_path / "cache.json").write_text(json.dumps(tree | {"sha256": json_sha256(tree)}))
    assert read_cache_info(tmp_path) == info
    # Clips of this cache have other fingerprints. Extraction must not replace them silently.
    with pytest.raises(UsageError, match=r"was created with settings\.union=None"):
        check_cache(tmp_path, info)
