import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from pipeline.cache.clip import CachedClip
from pipeline.cache.folder import clip_path, store_clip
from pipeline.cache.listing import ClipEntry
from pipeline.errors import FailureReason, ItemError
from pipeline.samples.clip_tokens import reverse_tokens
from pipeline.samples.dataset import (
    ClipDataset,
    Sample,
    check_finite,
    collate_samples,
    sample_rows,
)
from pipeline.samples.labels import action_frames, class_labels, subset_labels
from tests.pipeline.clips import header, random_clip


def put(cache: Path, clip: CachedClip) -> ClipEntry:
    store_clip(cache, clip)
    return ClipEntry(clip_path(cache, clip.video_id), clip.header)


def dataset(clips: list[ClipEntry], **changes: object) -> ClipDataset:
    given: dict = {"num_frames": 3, "max_pairs": 4, "relations": "ground-truth"} | changes
    return ClipDataset(clips, 5, **given)


def samples(data: ClipDataset) -> list[Sample]:
    found = [data[i] for i in range(len(data))]
    return [item for item in found if isinstance(item, Sample)]


def test_random_frames_depend_only_on_seed_epoch_and_id(tmp_path: Path) -> None:
    entries = [put(tmp_path, random_clip([2] * 30, i, f"CLIP{i}")) for i in range(4)]
    data = dataset(entries, seed=7)
    reversed_data = dataset(entries[::-1], seed=7)
    drawn = [data.read(e).frame_index.tolist() for e in entries]
    assert drawn == [reversed_data.read(e).frame_index.tolist() for e in entries]
    data.epoch = 1
    assert drawn != [data.read(e).frame_index.tolist() for e in entries]
    assert dataset(entries).read(entries[0]).frame_index.tolist() == [15, 45, 75]


def test_reversed_samples_have_reversed_tokens_and_exchanged_labels(tmp_path: Path) -> None:
    entries = [put(tmp_path, random_clip([2] * 4, i, f"CLIP{i}")) for i in range(40)]
    pairs = [(0, 1), (2, 4)]
    plain = {s.video_id: s for s in samples(dataset(entries, seed=3))}
    data = dataset(entries, seed=3, reversed_share=0.5, inverse_pairs=pairs)
    turned = []
    for sample in samples(data):
        before = plain[sample.video_id]
        assert before.labels.tolist() == [0.0, 1.0, 0.0, 1.0, 0.0]
        if torch.equal(sample.tokens.human_features, before.tokens.human_features):
            assert torch.equal(sample.labels, before.labels)
        else:
            turned.append(sample.video_id)
            expected = reverse_tokens(before.tokens)
            assert torch.equal(sample.tokens.human_features, expected.human_features)
            assert sample.labels.nan_to_num(9.0).tolist() == [1.0, 0.0, 0.0, 9.0, 0.0]
            assert torch.equal(sample.during[:2], before.during[:2].flip(0, 1))
    assert 5 <= len(turned) <= 35
    data.epoch = 1
    again = [s.video_id for s in samples(data) if bool(s.labels.isnan().any())]
    assert again != turned
    never = dataset(entries, seed=3, inverse_pairs=pairs)
    assert not any(bool(s.labels.isnan().any()) for s in samples(never))


def test_worker_process_loads_the_same_samples(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("detected", [False, True])
def test_samples_from_memory_equal_samples_from_disk(tmp_path: Path, detected: bool) -> None:
    clips = [random_clip([2, 0, 5, 1, 3, 2, 4], i, f"CLIP{i}") for i in range(6)]
    g = torch.Generator().manual_seed(0)
    clips = [
        replace(clip, instances=torch.randint(9, clip.labels.shape, generator=g)) for clip in clips
    ]
    if detected:
        head = [replace(clip.header, boxes="detected", num_uniform=5) for clip in clips]
        clips = [replace(clip, header=h) for clip, h in zip(clips, head, strict=True)]
    entries = [put(tmp_path, clip) for clip in clips]
    spans = [replace(e, span=(0, 60)) for e in entries[:2]]  # other samples of the same clips
    given: dict = {"seed": 3, "reversed_share": 0.5, "inverse_pairs": [(0, 1)]}
    for limit in (300_000, 10**9):  # the first is enough for some of the clips
        for clip in clips:
            store_clip(tmp_path, clip)
        disk = dataset(entries + spans, **given)
        memory = dataset(entries + spans, **given, memory_bytes=limit)
        for epoch in range(3):
            disk.epoch = memory.epoch = epoch
            for ours, theirs in zip(samples(memory), samples(disk), strict=True):
                assert torch.equal(ours.during, theirs.during)
                assert torch.equal(ours.labels.nan_to_num(9.0), theirs.labels.nan_to_num(9.0))
                assert ours.tokens.mask.shape == theirs.tokens.mask.shape
                assert torch.equal(ours.tokens.mask, theirs.tokens.mask)
                for name, value in theirs.tokens.packed.items():
                    assert ours.tokens.packed[name].dtype == value.dtype
                    assert torch.equal(ours.tokens.packed[name], value), name
        for entry in entries:
            entry.path.write_bytes(b"damaged")
        kept = [isinstance(memory[i], Sample) for i in range(8)]  # are not read again
        assert kept[0]
        assert all(kept) == (limit == 10**9)
        assert not samples(disk)


def test_clips_with_detected_boxes_use_only_uniform_frames() -> None:
    clip = random_clip([1] * 6)
    clip = replace(
        clip,
        header=replace(clip.header, boxes="detected", num_uniform=4),
        frame_index=torch.tensor([12, 13, 37, 40, 62, 87]),
    )
    assert sample_rows(clip, 16) == [0, 2, 4, 5]
    assert sample_rows(clip, 2) == [2, 5]
    assert sample_rows(random_clip([1] * 6), 16) == list(range(6))


def test_nan_missing_relations_and_invalid_class_are_reported(tmp_path: Path) -> None:
    entry = put(tmp_path, random_clip([2, 3]))
    for made, says in (
        (dataset([entry], relations="predicted"), "relations=predicted"),
        (ClipDataset([entry], 2, num_frames=3, max_pairs=4), "class indices below 2"),
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


def test_labels_follow_from_actions_and_errors_survive_pickling() -> None:
    assert class_labels(header(), 5).tolist() == [0, 1, 0, 1, 0]
    assert class_labels(replace(header(), actions=()), 3).tolist() == [0, 0, 0]
    with pytest.raises(ItemError):
        class_labels(header(), 3)
    error = pickle.loads(pickle.dumps(ItemError(FailureReason.BAD_CACHE, "why")))
    assert (error.reason, str(error)) == (FailureReason.BAD_CACHE, "why")


def test_frames_of_actions_lie_within_their_intervals() -> None:
    head = replace(header(), actions=((1, 0.5, 1.0), (1, 3.0, 3.5), (2, 9.0, 9.5)))
    during = action_frames(head, torch.tensor([0.0, 0.5, 1.0, 2.0, 3.2]), 3)
    assert during.int().tolist() == [[0, 0, 0, 0, 0], [0, 1, 1, 0, 1], [0, 0, 0, 0, 0]]


@given(seed=st.integers(0, 10**6))
def test_labels_of_subsets_equal_plain_loops(seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    mask = torch.rand(3, 4, 2, generator=g) < 0.8
    keep = mask & (torch.rand(3, 4, 2, generator=g) < 0.6)
    keep[0] = mask[0]
    during = torch.rand(3, 5, 4, generator=g) < 0.4
    labels = (torch.rand(3, 5, generator=g) < 0.5).float()
    labels[1, 0] = float("nan")
    found = subset_labels(labels, during, mask, keep)
    for b in range(3):
        kept = {(t, k) for t, k in keep[b].nonzero().tolist()}
        real = {(t, k) for t, k in mask[b].nonzero().tolist()}
        for c in range(5):
            inside = {(t, k) for t, k in real if during[b, c, t]}
            expected = float(labels[b, c])
            if expected == 1 and kept != real:
                if not inside:
                    expected = float("nan")
                elif not kept & inside:
                    expected = 0.0
                elif kept <= inside:
                    expected = 1.0
                elif 2 * len(kept & inside) < len(inside):
                    expected = float("nan")
                else:
                    ends = {min(t for t, _ in inside), max(t for t, _ in inside)}
                    expected = 1.0 if ends <= {t for t, _ in kept} else float("nan")
            assert found[b, c].isnan() if expected != expected else found[b, c] == expected


def test_a_subset_without_tokens_shows_no_action() -> None:
    mask = torch.ones(1, 2, 1, dtype=torch.bool)
    during = torch.tensor([[[True, False]]])
    found = subset_labels(torch.ones(1, 1), during, mask, torch.zeros_like(mask))
    assert found.tolist() == [[0.0]]


def frames_of(sample: Sample) -> list[list[tuple]]:
    """Return the tokens of each frame, without their times, as comparable rows."""
    tokens, found = sample.tokens, []
    frame = tokens.mask.nonzero()[:, 1]
    for t in range(tokens.mask.shape[1]):
        rows = (frame == t).nonzero()[:, 0].tolist()
        names = ("human_features", "union_features", "object_labels", "tracks", "predicates")
        found.append([tuple(str(getattr(tokens, n)[m].tolist()) for n in names) for m in rows])
    return found


def test_shuffled_samples_have_the_same_frames_at_other_times(tmp_path: Path) -> None:
    counts = [2, 3, 0, 4, 1, 2]
    entries = [put(tmp_path, random_clip(counts, i, f"CLIP{i}")) for i in range(6)]
    plain = samples(dataset(entries, num_frames=6))
    shuffled = samples(dataset(entries, num_frames=6, shuffle=True))
    orders = set()
    for before, after in zip(plain, shuffled, strict=True):
        frames = frames_of(before)
        marks = [(frames[t], before.during[:, t].tolist()) for t in range(6)]
        found = [(f, after.during[:, t].tolist()) for t, f in enumerate(frames_of(after))]
        assert sorted(map(str, found)) == sorted(map(str, marks))
        order = tuple(len(frame) for frame in frames_of(after))
        orders.add(order)
        times = after.tokens.times_s
        slots = after.tokens.mask.nonzero()[:, 1]
        torch.testing.assert_close(times, 0.12 * slots)
        assert torch.equal(after.labels, before.labels)
    assert len(orders) > 1


def test_order_of_shuffled_frames_is_fixed_by_the_id_or_changes_with_the_epoch(
    tmp_path: Path,
) -> None:
    entries = [put(tmp_path, random_clip([2] * 6, i, f"CLIP{i}")) for i in range(6)]

    def orders(data: ClipDataset, epoch: int = 0) -> dict[str, str]:
        data.epoch = epoch
        return {s.video_id: str(s.tokens.human_features[:, 0].tolist()) for s in samples(data)}

    fixed = orders(dataset(entries, num_frames=6, shuffle=True))
    again = orders(dataset(entries[::-1], num_frames=6, shuffle=True), epoch=1)
    plain = orders(dataset(entries, num_frames=6))
    assert fixed == again
    assert sum(fixed[name] == plain[name] for name in fixed) < 3
    drawn = dataset(entries, num_frames=6, shuffle=True, seed=4)
    first, second = orders(drawn), orders(drawn, epoch=1)
    assert first == orders(dataset(entries[::-1], num_frames=6, shuffle=True, seed=4))
    assert sum(first[name] == second[name] for name in first) < 3
    assert orders(dataset(entries, num_frames=6, seed=4)) == plain  # 6 frames in 6 segments
