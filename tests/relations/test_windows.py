import torch
from hypothesis import given
from hypothesis import strategies as st

from relations.windows import Windows, frame_windows, pairs_of_first_frames, two_frame_windows

COUNTS = st.lists(st.lists(st.integers(0, 4), max_size=5), max_size=4)


def flat(counts: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    per_frame = torch.tensor([n for video in counts for n in video], dtype=torch.int64)
    return per_frame, torch.tensor([len(video) for video in counts], dtype=torch.int64)


def content(windows: Windows, pair: int) -> list[tuple[int, bool]]:
    """Return (other pair, is in the second frame) for every pair in the window of `pair`."""
    w = int(windows.window[pair])
    mask = windows.mask[w]
    rows, latter = windows.rows[w][mask].tolist(), windows.is_latter[w][mask].tolist()
    assert rows[int(windows.slot[pair])] == pair
    return list(zip(rows, latter, strict=True))


@given(COUNTS)
def test_frame_windows_contain_the_pairs_of_one_frame(counts: list[list[int]]) -> None:
    per_frame, _ = flat(counts)
    windows = frame_windows(per_frame)
    start = 0
    for n in per_frame.tolist():
        for pair in range(start, start + n):
            assert content(windows, pair) == [(p, False) for p in range(start, start + n)]
        start += n
    assert len(windows.window) == start
    assert bool(windows.mask.any(1).all())


@given(COUNTS)
def test_two_frame_windows_equal_plain_loops(counts: list[list[int]]) -> None:
    windows = two_frame_windows(*flat(counts))
    pair = 0
    for video in counts:
        frames, start = [], pair
        for n in video:
            frames.append(list(range(start, start + n)))
            start += n
        for t, mine in enumerate(frames):
            for own in mine:
                if t > 0:
                    expected = [(p, False) for p in frames[t - 1]] + [(p, True) for p in mine]
                elif len(frames) > 1:
                    expected = [(p, False) for p in mine] + [(p, True) for p in frames[1]]
                else:
                    expected = [(p, False) for p in mine]
                assert content(windows, own) == expected
        pair = start
    assert len(windows.window) == pair
    assert bool(windows.mask.any(1).all())


@given(COUNTS)
def test_pairs_of_first_frames_equal_plain_loops(counts: list[list[int]]) -> None:
    wanted = [sum(video[1:]) == 0 for video in counts for n in video for _ in range(n)]
    assert pairs_of_first_frames(*flat(counts)).tolist() == wanted
