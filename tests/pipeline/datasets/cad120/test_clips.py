from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.datasets.cad120.clips import ClipLine, ClipLines, read_clips
from pipeline.errors import UsageError

ACTIONS = ("null", "open", "pick")
GOOD = "S1, eating, 0002, 3, 9, open"


def read(folder: Path, text: str) -> ClipLines:
    path = folder / "video_clips.txt"
    path.write_text(text)
    return read_clips(path, ACTIONS)


def test_spans_are_counted_from_zero_and_may_overlap(tmp_path: Path) -> None:
    found = read(tmp_path, f"{GOOD}\n\nS1,eating,0002,9,9,null\nS2, eating , 0003, 1, 2, pick\n")
    assert found.errors == {}
    assert found.lines == (
        ClipLine("S1", "eating", "0002", 2, 8, 1),
        ClipLine("S1", "eating", "0002", 8, 8, 0),
        ClipLine("S2", "eating", "0003", 0, 1, 2),
    )
    assert [line.num_frames for line in found.lines] == [7, 1, 2]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("S1, eating, 0001, 1, 2", "'subject, activity, video id, .*' expected, got 'S1"),
        ("S1, eating, 0001, 1, 2, open, x", "'subject, activity, video id, .*' expected, got 'S1"),
        ("S1, eating, 0001, 1, 2.5, open", "numbers of the first and last frame expected"),
        ("S1, eating, 0001, -1, 2, open", "numbers of the first and last frame expected"),
        ("S1, eating, 0001, 1, ٣, open", "numbers of the first and last frame expected"),
        ("S1, eating, 0001, 1, 9999999999, open", "numbers of the first and last frame expected"),
        ("S1, eating, 0001, 0, 2, open", "frames numbered from 1, .* got 0 and 2"),
        ("S1, eating, 0001, 3, 2, open", "the first one not after the last one, .* got 3 and 2"),
        ("S1, eating, 0001, 1, 2, fly", "an action of action_list.txt expected, got 'fly'"),
        ("S1, eating, 0001, 5, 6, pick", "each span only once expected, got 'S1"),
        ("S2, eating, 0001, 1, 2, open", "S1, eating expected as in the first .* got S2, eating"),
        ("S1, drinking, 0001, 1, 2, open", "S1, eating expected as in .* got S1, drinking"),
    ],
)
def test_faulty_line_is_an_error_of_its_video(tmp_path: Path, line: str, message: str) -> None:
    found = read(tmp_path, f"S1, eating, 0001, 5, 6, open\n{GOOD}\n{line}\n")
    assert found.lines == (ClipLine("S1", "eating", "0002", 2, 8, 1),)
    assert list(found.errors) == ["0001"]
    with pytest.raises(ValueError, match=f"^video_clips.txt:3: .*{message}"):
        raise ValueError(found.errors["0001"])


def test_first_fault_of_a_video_is_reported(tmp_path: Path) -> None:
    found = read(tmp_path, "S1, e, 0001, 0, 2, open\nS1, e, 0001, 1, 2, fly\n")
    assert found.lines == ()
    assert found.errors["0001"].startswith("video_clips.txt:1: ")


@pytest.mark.parametrize(
    "line",
    ["S1, eating", "S1, eating, , 1, 2, open", "S1, eating, ../x, 1, 2, open",
     "S1, a/b, 0001, 1, 2, open", "., eating, 0001, 1, 2, open", "subject; activity; id"],
)  # fmt: skip
def test_line_without_a_video_is_rejected(tmp_path: Path, line: str) -> None:
    with pytest.raises(UsageError, match=r"video_clips\.txt:2: 'subject, activity, video id"):
        read(tmp_path, f"{GOOD}\n{line}\n")


def test_empty_and_missing_files_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="file not found"):
        read_clips(tmp_path / "video_clips.txt", ACTIONS)
    with pytest.raises(UsageError, match="at least one line expected"):
        read(tmp_path, "\n")


SPANS = st.tuples(st.integers(1, 500), st.integers(0, 300), st.integers(0, 2))


@settings(max_examples=50, deadline=None)
@given(spans=st.lists(SPANS, min_size=1, max_size=8, unique_by=lambda span: span[:2]))
def test_written_spans_are_read_back(
    tmp_path_factory: pytest.TempPathFactory, spans: list[tuple[int, int, int]]
) -> None:
    rows = [f"S1, e, 0001, {first}, {first + more}, {ACTIONS[a]}" for first, more, a in spans]
    found = read(tmp_path_factory.mktemp("clips"), "\n".join(rows))
    assert found.errors == {}
    assert [(line.first + 1, line.last - line.first, line.action) for line in found.lines] == spans
