import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torchvision.datasets.video_utils import VideoClips

from pipeline.decoding import FrameRequest
from pipeline.decoding.sampling import (
    ClipSampling,
    choose_frames,
    segment_rows,
    uniform_rows,
    window_hop,
    window_segments,
)
from pipeline.decoding.video_source import VideoSource
from pipeline.errors import ItemError


def test_chosen_frames_are_segment_centres_and_annotated_frames() -> None:
    assert choose_frames(100, 4) == [12, 37, 62, 87]
    assert choose_frames(100, 2, [0, 25, 99]) == [0, 25, 75, 99]
    assert choose_frames(3, 8) == [0, 1, 2]
    assert choose_frames(1, 32) == [0]


@given(st.integers(0, 200), st.integers(1, 40), st.integers(0, 99))
def test_one_row_of_each_segment_is_selected(num_rows: int, num_segments: int, seed: int) -> None:
    drawn = segment_rows(num_rows, num_segments, np.random.default_rng(seed))
    centres = segment_rows(num_rows, num_segments)
    n = min(num_rows, num_segments)
    assert len(drawn) == len(centres) == n
    for i, (row, centre) in enumerate(zip(drawn, centres, strict=True)):
        low, high = i * num_rows / n, (i + 1) * num_rows / n
        assert low - 1 < row < high
        assert low <= centre + 0.5 <= high + 0.5
    assert drawn == sorted(set(drawn))
    assert centres == sorted(set(centres))


@given(st.integers(0, 60), st.integers(1, 20), st.integers(0, 99))
def test_sampled_ends_are_the_first_and_the_last_row(num_rows: int, num: int, seed: int) -> None:
    for rng in (None, np.random.default_rng(seed)):
        rows = segment_rows(num_rows, num, rng, ends=True)
        assert len(rows) == min(num_rows, num)
        assert rows == sorted({*rows} & {*range(num_rows)})
        if len(rows) > 1:
            assert (rows[0], rows[-1]) == (0, num_rows - 1)
    rows, n = segment_rows(num_rows, num, ends=True), min(num_rows, num)
    for i, row in enumerate(rows if n > 1 else []):  # the nearest rows to evenly spaced places
        assert abs(row - i * (num_rows - 1) / (n - 1)) <= 0.5


def test_every_row_of_a_segment_can_be_selected() -> None:
    drawn = {segment_rows(9, 2, np.random.default_rng(seed))[1] for seed in range(60)}
    assert drawn == {4, 5, 6, 7, 8}


def test_uniform_rows_exclude_annotated_frames() -> None:
    frames = choose_frames(100, 4, [13, 14, 87])
    assert [frames[row] for row in uniform_rows(frames, 100, 4)] == [12, 37, 62, 87]


@given(st.floats(0.1, 5000), st.floats(0.1, 60), st.integers(1, 32))
def test_windows_cover_the_video_and_are_short_enough(
    duration_s: float, window_s: float, size: int
) -> None:
    num, hop = window_segments(duration_s, window_s, size), window_hop(size)
    assert (num - size) % hop == 0
    assert size * duration_s / num <= window_s * (1 + 1e-6) or num == size
    assert (num == size) == (duration_s <= window_s * (1 + 1e-6))
    if num > size:  # one window less would be too few
        assert (num - hop) * window_s < duration_s * size * (1 + 1e-6)


class Video:
    """Video of 100 frames."""

    num_frames = 100

    def __init__(self, duration_s: float) -> None:
        self.source = VideoSource(
            Path("a.mp4"), "0" * 64, 10.0, 100, 64, 48, duration_s, 0, "applied"
        )


def test_frames_that_the_network_reads_are_centres_of_the_uniform_frames() -> None:
    request = FrameRequest(Path("a.mp4"), "0" * 64, num_uniform=20, num_sampled=4)
    uniform = segment_rows(100, 20)
    assert request.pick(Video(10.0)) == [uniform[i] for i in (2, 7, 12, 17)]
    annotated = FrameRequest(
        Path("a.mp4"), "0" * 64, annotated=(3, 5, 8, 9), num_uniform=None, num_sampled=2
    )
    assert annotated.pick(Video(10.0)) == [5, 9]


def test_long_video_is_sampled_in_windows() -> None:
    request = FrameRequest(Path("a.mp4"), "0" * 64, num_uniform=20, num_sampled=4, window_s=5.0)
    assert not request.has_windows(Video(5.0).source)
    assert len(request.pick(Video(5.0))) == 4
    assert request.num_segments(Video(10.0).source) == 8
    assert request.window_size(Video(10.0).source) == 4
    assert request.pick(Video(10.0)) == segment_rows(100, 8)


@pytest.mark.parametrize("duration_s", [100.0, 250.0, 700.0, 10_000.0])
def test_windows_of_a_video_with_few_frames_have_fewer_frames(duration_s: float) -> None:
    request = FrameRequest(Path("a.mp4"), "0" * 64, num_uniform=20, num_sampled=4, window_s=5.0)
    video = Video(duration_s)
    size, rows = request.window_size(video.source), request.pick(video)
    assert size == min(max(int(5.0 / duration_s * 100), 1), 4)
    step_s = duration_s / 100
    for start in range(len(rows) - size + 1):
        assert (rows[start + size - 1] - rows[start]) * step_s <= 5.0


@given(st.sampled_from([7.5, 15.0]), st.sampled_from([5.0, 12.5, 15.0, 24.0, 29.97, 30.0, 60.0]))
def test_frames_of_a_clip_are_those_of_torchvision(rate: float, fps: float) -> None:
    found = ClipSampling(1, 16, rate).clips(1000, fps)[0]
    there = VideoClips._resample_video_idx(16, fps, rate)
    expected = range(1000)[there] if isinstance(there, slice) else there.tolist()
    assert [index - found[0] for index in found] == list(expected)[:16]


def test_clips_are_evenly_spaced_within_the_sample() -> None:
    assert ClipSampling(3, 2, 5).clips(11, 10) == [[0, 2], [4, 6], [8, 10]]
    assert ClipSampling(1, 2, 5).clips(11, 10) == [[4, 6]]
    assert ClipSampling(2, 2, 5, 3, 8).clips(11, 10) == [[3, 5], [6, 8]]
    assert ClipSampling(5, 3, 10).clips(4, 10) == [[0, 1, 2], [1, 2, 3]]  # equal clips count once
    assert ClipSampling(5, 4, 10, 2).clips(4, 10) == [[2, 3, 3, 3]]  # shorter than a clip
    assert ClipSampling(2, 3, 20).clips(4, 10) == [[0, 0, 1], [2, 2, 3]]  # a slow video


def test_requests_with_clips_survive_json_and_check_the_end_of_a_span() -> None:
    request = FrameRequest(Path("a.mp4"), "0" * 64, clips=ClipSampling(2, 2, 5.0, 3, 8))
    assert FrameRequest.from_dict(json.loads(json.dumps(request.to_dict()))) == request
    assert request.pick(Video(10.0)) == [3, 5, 6, 8]
    beyond = replace(request, clips=ClipSampling(2, 2, 5.0, 90, 100))
    with pytest.raises(ItemError, match="frames 1 to 100 expected, got an annotation of frame 101"):
        beyond.pick(Video(10.0))
