from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.cache.clip import CachedClip
from pipeline.samples.clip_tokens import clip_tokens, collate_tokens, reverse_tokens
from relations.spatial_masks import spatial_masks
from tests.pipeline.clips import random_clip

counts = st.lists(st.integers(0, 6), max_size=5)


@given(counts=counts, max_pairs=st.integers(1, 7), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_clip_tokens_equal_plain_loops(counts: list[int], max_pairs: int, seed: int) -> None:
    clip = random_clip(counts, seed)
    clip = replace(clip, scores=(clip.scores * 3).round() / 3)  # ties
    made = clip_tokens(clip, max_pairs, "ground-truth")
    batch, row = made.batch, 0
    for t, count in enumerate(counts):
        start = sum(counts[:t])
        ranked = sorted(
            range(start + 1, start + count),
            key=lambda n: (-float(clip.scores[n]), int(clip.labels[n]), clip.boxes[n].tolist()),
        )[:max_pairs]
        assert batch.mask[0, t].tolist() == [k < len(ranked) for k in range(batch.mask.shape[2])]
        for n in ranked:
            pair = int(made.pair_row[row])
            assert clip.pair_rows[pair].tolist() == [start, n]
            assert int(made.frame_row[row]) == t
            seconds = float(clip.timestamps_s[t] - clip.timestamps_s[0])
            assert float(batch.times_s[row]) == pytest.approx(seconds)
            assert torch.equal(batch.human_features[row], clip.box_features[start])
            assert torch.equal(batch.object_features[row], clip.box_features[n])
            assert torch.equal(batch.union_features[row], clip.union_features[pair])
            assert int(batch.object_labels[row]) == int(clip.labels[n])
            expected = spatial_masks(clip.boxes[start][None], clip.boxes[n][None])[0]
            torch.testing.assert_close(batch.spatial_masks[row], expected)
            assert batch.predicates is not None
            assert torch.equal(batch.predicates[row], clip.predicates["ground-truth"][pair])
            row += 1
    assert row == len(made.pair_row)


@given(counts=counts, seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_tokens_do_not_depend_on_the_order_of_cached_pairs(counts: list[int], seed: int) -> None:
    clip = random_clip(counts, seed)
    one = clip_tokens(clip, 4, "ground-truth").batch
    two = clip_tokens(_pairs_reversed(clip), 4, "ground-truth").batch
    assert torch.equal(one.mask, two.mask)
    for name, value in one.packed.items():
        assert torch.equal(value, getattr(two, name)), name


def _pairs_reversed(clip: CachedClip) -> CachedClip:
    parts = [
        torch.arange(a, b).flip(0)
        for a, b in zip(clip.pair_offsets.tolist(), clip.pair_offsets.tolist()[1:], strict=False)
    ]
    order = torch.cat(parts) if parts else torch.zeros(0, dtype=torch.int64)
    predicates = {name: value[order] for name, value in clip.predicates.items()}
    return replace(
        clip,
        pairs=clip.pairs[order],
        union_features=clip.union_features[order],
        predicates=predicates,
    )


def test_collate_pads_videos_of_different_lengths() -> None:
    clips = [random_clip([3, 1], 1), random_clip([], 2), random_clip([2, 0, 5], 3)]
    alone = [clip_tokens(clip, 10, "ground-truth").batch for clip in clips]
    batch = collate_tokens(alone)
    assert batch.mask.shape == (3, 3, 4)
    assert batch.mask.sum((1, 2)).tolist() == [2, 0, 5]
    assert torch.equal(batch.mask[2], alone[2].mask[0])
    parts = [len(v.object_labels) for v in alone]
    for part, video in zip(batch.union_features.split(parts), alone, strict=True):
        assert torch.equal(part, video.union_features)
    silent = collate_tokens([clip_tokens(clip, 10).batch for clip in clips])
    assert silent.predicates is None
    with pytest.raises(KeyError):
        clip_tokens(clips[0], 10, "predicted")


@given(counts=counts, seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_reversed_tokens_have_reversed_frames_and_mirrored_times(
    counts: list[int], seed: int
) -> None:
    batch = clip_tokens(random_clip(counts, seed), 6, "ground-truth").batch
    again = reverse_tokens(batch)
    assert torch.equal(again.mask, batch.mask.flip(1))
    frames, rows = batch.mask.nonzero()[:, 1], torch.arange(len(batch.tracks))
    T = batch.mask.shape[1]
    order = [int(m) for t in reversed(range(T)) for m in rows[frames == t]]
    assert torch.equal(again.tracks, batch.tracks[order])
    assert torch.equal(again.object_features, batch.object_features[order])
    if len(rows):
        end = batch.times_s.max()
        torch.testing.assert_close(again.times_s, end - batch.times_s[order])
        assert bool((again.times_s.diff() >= 0).all())


def test_two_subjects_of_one_object_have_two_tracks_without_instances() -> None:
    clip = random_clip([3, 3, 3])
    boxes = torch.tensor([[0.0, 0, 10, 10], [40, 0, 50, 10], [20, 0, 30, 10]]).repeat(3, 1)
    clip = replace(
        clip,
        boxes=boxes,
        labels=torch.tensor([1, 1, 2]).repeat(3),
        pairs=torch.tensor([[0, 2], [1, 2], [1, 2], [0, 2], [1, 2]]),  # only one in frame 1
        pair_offsets=torch.tensor([0, 2, 3, 5]),
        union_features=clip.union_features[:5],
        predicates={},
    )
    made = clip_tokens(clip, 4)
    first = clip.pair_rows[made.pair_row, 0] % 3
    pairs = {*zip(first.tolist(), made.batch.tracks.tolist(), strict=True)}
    assert len(pairs) == len({track for _, track in pairs}) == 2
