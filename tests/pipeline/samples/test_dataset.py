import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from pipeline.cache.clip import CachedClip, save_clip
from pipeline.cache.folder import append_manifest, clip_path
from pipeline.errors import FailureReason, ItemError
from pipeline.samples.dataset import (
    ClipDataset,
    ClipEntry,
    Sample,
    check_finite,
    class_labels,
    collate_samples,
    is_held_out,
    list_clips,
    sample_rows,
)
from tests.pipeline.clips import header, random_clip


def put(cache: Path, clip: CachedClip) -> ClipEntry:
    path = clip_path(cache, clip.video_id)
    append_manifest(cache, {"id": clip.video_id, "sha256": save_clip(path, clip)})
    return ClipEntry(path, clip.header)


def dataset(clips: list[ClipEntry], **changes: object) -> ClipDataset:
    given: dict = {"num_frames": 3, "max_pairs": 4, "relations": "ground-truth"} | changes
    return ClipDataset(clips, 5, **given)


def test_damage_of_every_kind_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    for name in ("GOOD1", "FLIP1", "GONE1", "GOOD2"):
        put(tmp_path, random_clip([2, 3], video_id=name))
    flipped = tmp_path / "FLIP1.safetensors"
    data = bytearray(flipped.read_bytes())
    data[-3] ^= 1
    flipped.write_bytes(data)
    (tmp_path / "GONE1.safetensors").unlink()
    save_clip(tmp_path / "STRANGER.safetensors", random_clip([2], video_id="STRANGER"))
    append_manifest(tmp_path, {"id": "../../etc/passwd", "sha256": "0"})
    clips, bad = list_clips(tmp_path)
    assert [c.video_id for c in clips] == ["GOOD1", "GOOD2"]
    assert sorted(bad) == ["../../etc/passwd", "FLIP1", "GONE1", "STRANGER"]
    assert all(e.reason is FailureReason.BAD_CACHE for e in bad.values())
    assert "bytes of its manifest" in str(bad["FLIP1"])


def test_frames_drawn_depend_on_seed_epoch_and_id_alone(tmp_path: Path) -> None:
    entries = [put(tmp_path, random_clip([2] * 30, i, f"CLIP{i}")) for i in range(4)]
    data = dataset(entries, seed=7)
    reversed_data = dataset(entries[::-1], seed=7)
    drawn = [data.read(e).frame_index.tolist() for e in entries]
    assert drawn == [reversed_data.read(e).frame_index.tolist() for e in entries]
    data.epoch = 1
    assert drawn != [data.read(e).frame_index.tolist() for e in entries]
    assert dataset(entries).read(entries[0]).frame_index.tolist() == [15, 45, 75]


def test_loaded_in_another_process_it_is_the_same(tmp_path: Path) -> None:
    entries = [put(tmp_path, random_clip([2, 3, 1], i, f"CLIP{i}")) for i in range(3)]
    (tmp_path / "CLIP1.safetensors").write_bytes(b"damaged")
    for workers in (0, 1):
        loader = DataLoader(
            dataset(entries),
            batch_size=3,
            num_workers=workers,
            collate_fn=collate_samples,
            multiprocessing_context="fork" if workers else None,
        )
        batch = next(iter(loader))
        assert batch.video_ids == ("CLIP0", "CLIP2")
        assert [i for i, _ in batch.failed] == ["CLIP1"]
        assert batch.failed[0][1].reason is FailureReason.BAD_CACHE
        assert batch.labels.tolist() == [[0.0, 1.0, 0.0, 1.0, 0.0]] * 2
        assert batch.tokens is not None
        assert len(batch.tokens) == 2


def test_detected_clips_give_their_uniform_frames_alone() -> None:
    clip = random_clip([1] * 6)
    clip = replace(
        clip,
        header=replace(clip.header, boxes="detected", num_uniform=4),
        frame_index=torch.tensor([12, 13, 37, 40, 62, 87]),
    )
    assert sample_rows(clip, 16) == [0, 2, 4, 5]
    assert sample_rows(clip, 2) == [2, 5]
    assert sample_rows(random_clip([1] * 6), 16) == list(range(6))


def test_nan_missing_relations_and_a_bad_class_are_reasons(tmp_path: Path) -> None:
    entry = put(tmp_path, random_clip([2, 3]))
    for made, says in (
        (dataset([entry], relations="predicted"), "relations=predicted"),
        (ClipDataset([entry], 2, num_frames=3, max_pairs=4), "classes below 2"),
    ):
        item = made[0]
        assert not isinstance(item, Sample)
        assert says in str(item[1])
    clip = random_clip([2, 3], video_id="NAN")
    clip.boxes[0, 0] = float("nan")
    bad = dataset([put(tmp_path, clip)], relations=None)[0]
    assert not isinstance(bad, Sample)
    assert "finite boxes" in str(bad[1])
    clip = random_clip([2, 3])
    clip.predicates["ground-truth"][1, 2] = float("nan")
    with pytest.raises(ItemError, match="finite predicates/ground-truth"):
        check_finite(clip)


def test_validation_videos_follow_from_their_id() -> None:
    held = [is_held_out(f"V{i:05d}", 0.1) for i in range(4000)]
    assert 0.08 < sum(held) / len(held) < 0.12
    assert not any(is_held_out(f"V{i}", 0.0) for i in range(100))
    assert all(is_held_out(f"V{i}", 0.3) for i in range(500) if is_held_out(f"V{i}", 0.1))


def test_labels_and_errors_survive() -> None:
    assert class_labels(header(), 5).tolist() == [0, 1, 0, 1, 0]
    assert class_labels(replace(header(), actions=()), 3).tolist() == [0, 0, 0]
    with pytest.raises(ItemError):
        class_labels(header(), 3)
    error = pickle.loads(pickle.dumps(ItemError(FailureReason.BAD_CACHE, "why")))
    assert (error.reason, str(error)) == (FailureReason.BAD_CACHE, "why")
