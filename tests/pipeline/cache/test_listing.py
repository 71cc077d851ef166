"""Tests of the listing of usable and unusable clips."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.cache import listing
from pipeline.cache.folder import store_clip
from pipeline.cache.listing import is_held_out, list_clips, split_held_out
from pipeline.cache.manifest import UNKNOWN, Manifest, read_manifest
from pipeline.errors import FailureReason
from pipeline.runtime.files import file_sha256
from tests.pipeline.cache_maker import labelled_clip, manifest_row, random_cache
from tests.pipeline.clips import random_clip, save_clip


def flip_last_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def test_unusable_clips_are_reported_and_usable_clips_are_listed(tmp_path: Path) -> None:
    for name in ("GOOD1", "FLIP1", "CUT1", "GONE1", "OTHER1", "GOOD2"):
        store_clip(tmp_path, random_clip([2, 3], video_id=name))
    flip_last_byte(tmp_path / "FLIP1.safetensors")
    cut = tmp_path / "CUT1.safetensors"
    cut.write_bytes(cut.read_bytes()[:-1])
    (tmp_path / "GONE1.safetensors").unlink()
    other = replace(read_manifest(tmp_path)["OTHER1"], fingerprint="0" * 64)
    Manifest(tmp_path).append(other)
    save_clip(tmp_path / "UNLISTED.safetensors", random_clip([2], video_id="UNLISTED"))
    # A manifest line with an unsafe id and a folder are not clips.
    Manifest(tmp_path).append(manifest_row("../../etc/passwd"))
    (tmp_path / "FOLDER1.safetensors").mkdir()
    clips, bad = list_clips(tmp_path)
    # Only `verify` detects a changed byte in a file of unchanged size.
    assert [c.video_id for c in clips] == ["FLIP1", "GOOD1", "GOOD2"]
    assert sorted(bad) == ["CUT1", "GONE1", "OTHER1", "UNLISTED"]
    assert all(e.reason is FailureReason.BAD_CACHE for e in bad.values())
    assert "differs from its manifest line" in str(bad["CUT1"])
    assert "the fingerprint in" in str(bad["OTHER1"])
    clips, found = list_clips(tmp_path, verify=True)
    assert [c.video_id for c in clips] == ["GOOD1", "GOOD2"]
    assert sorted(found) == sorted([*bad, "FLIP1"])


def test_without_verify_no_clip_is_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = random_cache(tmp_path / "cache")
    hashed = []

    def counted(path: Path) -> str:
        hashed.append(path.stem)
        return file_sha256(path)

    monkeypatch.setattr(listing, "file_sha256", counted)
    assert len(list_clips(cache)[0]) == 14
    assert not hashed
    assert len(list_clips(cache, split="test", verify=True)[0]) == 4
    assert sorted(hashed) == [f"TEST{i:03d}" for i in range(4)]


def test_unusable_clip_is_listed_only_for_its_own_split(tmp_path: Path) -> None:
    cache = random_cache(tmp_path / "cache", train=3, test=3)
    (cache / "TRAIN001.safetensors").write_bytes(b"damaged")
    (cache / "TEST002.safetensors").unlink()
    assert list(list_clips(cache, split="train")[1]) == ["TRAIN001"]
    assert list(list_clips(cache, split="test")[1]) == ["TEST002"]
    assert sorted(list_clips(cache)[1]) == ["TEST002", "TRAIN001"]
    # Without a split in the manifest, the split of a readable header is used.
    rows = read_manifest(cache)
    Manifest(cache).write({k: replace(row, split=UNKNOWN) for k, row in rows.items()})
    assert "split" not in (cache / "manifest.jsonl").read_text()
    flip_last_byte(cache / "TRAIN000.safetensors")
    clips, bad = list_clips(cache, split="train", verify=True)
    assert [c.video_id for c in clips] == ["TRAIN002"]
    assert sorted(bad) == ["TEST002", "TRAIN000", "TRAIN001"]
    assert sorted(list_clips(cache, split="test", verify=True)[1]) == ["TEST002", "TRAIN001"]
    # A clip whose split is None is not listed with `split`.
    clip = labelled_clip(9, "test")
    store_clip(cache, replace(clip, header=replace(clip.header, split=None)))
    (cache / "TEST009.safetensors").write_bytes(b"damaged")
    assert "TEST009" not in list_clips(cache, split="test")[1]


def test_clip_whose_header_differs_from_the_manifest_is_unusable(tmp_path: Path) -> None:
    cache = random_cache(tmp_path / "cache", train=2, test=2)
    for name, old, new in (
        ("TRAIN001", b'split\\":\\"train', b'split\\":\\"tsain'),
        ("TEST001", b"TEST001", b"TEST009"),
    ):
        path = cache / f"{name}.safetensors"
        data = path.read_bytes()
        assert old in data
        path.write_bytes(data.replace(old, new, 1))
    assert list(list_clips(cache, split="train")[1]) == ["TRAIN001"]
    assert list(list_clips(cache, split="test")[1]) == ["TEST001"]
    # An invalid split is treated as unknown.
    Manifest(cache).append(replace(read_manifest(cache)["TRAIN001"], split="tsain"))
    assert "TRAIN001" in list_clips(cache, split="test")[1]


def test_manifest_line_contains_the_split(tmp_path: Path) -> None:
    row = store_clip(tmp_path, labelled_clip(0, "test"))
    assert row.split == "test"
    line = json.loads((tmp_path / "manifest.jsonl").read_text())
    assert line["split"] == "test"


def test_video_id_determines_the_validation_split(tmp_path: Path) -> None:
    held = [is_held_out(f"V{i:05d}", 0.1) for i in range(4000)]
    assert 0.08 < sum(held) / len(held) < 0.12
    assert not any(is_held_out(f"V{i}", 0.0) for i in range(100))
    assert all(is_held_out(f"V{i}", 0.3) for i in range(500) if is_held_out(f"V{i}", 0.1))
    clips, _ = list_clips(random_cache(tmp_path / "cache", train=30))
    training, validation = split_held_out(clips, 0.3)
    assert training
    assert validation
    assert sorted(training + validation, key=lambda c: c.video_id) == clips
    assert all(is_held_out(c.video_id, 0.3) for c in validation)
