import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.decoding.sampling import choose_frames, segment_rows, uniform_rows


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


def test_every_row_of_a_segment_can_be_selected() -> None:
    drawn = {segment_rows(9, 2, np.random.default_rng(seed))[1] for seed in range(60)}
    assert drawn == {4, 5, 6, 7, 8}


def test_uniform_rows_exclude_annotated_frames() -> None:
    frames = choose_frames(100, 4, [13, 14, 87])
    assert [frames[row] for row in uniform_rows(frames, 100, 4)] == [12, 37, 62, 87]
