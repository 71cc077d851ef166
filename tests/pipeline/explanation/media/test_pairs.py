import pytest

from pipeline.explanation.media.pairs import PairTimeline, matching_frame
from tests.pipeline.explanation.media.scene_maker import PERSON, make_scene

FIRST, SECOND, MEAN = (0.0, 0.0, 10.0, 10.0), (20.0, 8.0, 40.0, 20.0), (10.0, 4.0, 25.0, 15.0)
TIMES = [i / 25 for i in range(40)]


def test_box_in_the_middle_is_the_mean_of_both_boxes() -> None:
    timeline = PairTimeline(make_scene([{0: FIRST}, {0: SECOND}]), TIMES)
    (pair,) = timeline.at(5)
    assert pair.object == pytest.approx(MEAN)
    assert pair.human == pytest.approx(PERSON)
    assert not pair.is_sampled
    assert [p.object for p in timeline.at(0)] == [FIRST]
    assert [p.object for p in timeline.at(10)] == [SECOND]
    assert timeline.at(10)[0].is_sampled


def test_boxes_are_interpolated_in_time_and_not_in_frames() -> None:
    times = [0.0, 0.1, 1.0]
    scene = make_scene([{0: FIRST}, {0: SECOND}], frames=[0, 2], times=[0.0, 1.0])
    (pair,) = PairTimeline(scene, times).at(1)
    assert pair.object == pytest.approx((2.0, 0.8, 13.0, 11.0))


def test_track_is_not_shown_where_a_sampled_frame_lacks_it() -> None:
    scene = make_scene([{}, {0: FIRST}, {}, {0: SECOND}, {0: SECOND}, {}])
    timeline = PairTimeline(scene, [i / 25 for i in range(60)])
    shown = [number for number in range(60) if timeline.at(number)]
    assert shown == [10, *range(30, 41)]


def test_names_are_those_of_the_nearest_sampled_frame() -> None:
    timeline = PairTimeline(make_scene([{0: FIRST}, {0: SECOND}], discarded=[(1, 0)]), TIMES)
    assert [timeline.at(number)[0].token.t for number in (0, 4, 6, 10)] == [0, 0, 1, 1]


def test_nearest_window_is_shown_where_windows_overlap() -> None:
    boxes = [{0: FIRST}, {0: FIRST}, {1: SECOND}, {1: SECOND}]
    scene = make_scene(boxes, frames=[0, 20, 10, 30], window_of=[0, 0, 1, 1])
    timeline = PairTimeline(scene, TIMES)
    tracks = [{pair.token.track for pair in timeline.at(n)} for n in (5, 14, 16, 25, 35)]
    assert tracks == [{0}, {0}, {1}, {1}, set()]


@pytest.mark.parametrize(
    ("index", "time", "expected"),
    [(3, 0.12, 3), (3, 0.2, 5), (99, 0.21, 5), (0, 9.0, 9), (5, -1.0, 0)],
)
def test_sampled_frames_are_matched_by_time_if_numbers_differ(
    index: int, time: float, expected: int
) -> None:
    assert matching_frame(index, time, [i / 25 for i in range(10)], 0.02) == expected


def test_scene_without_tokens_has_no_pairs() -> None:
    assert PairTimeline(make_scene([{}, {}]), TIMES).at(3) == []
    assert PairTimeline(make_scene([]), TIMES).at(3) == []
