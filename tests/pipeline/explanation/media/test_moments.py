import pytest

from pipeline.explanation.media.moments import READING_S, moment_at, moments_of
from tests.pipeline.explanation.media.scene_maker import action


def test_moment_of_one_frame_is_shown_for_a_second() -> None:
    (moment,) = moments_of([action(between=(3.0, 3.0))], 10.0)
    assert (moment.start_s, moment.end_s) == pytest.approx((2.5, 3.5))


@pytest.mark.parametrize(("time", "end", "expected"), [(0.1, 10.0, 0.0), (9.9, 10.0, 9.0)])
def test_moment_stays_within_the_video(time: float, end: float, expected: float) -> None:
    (moment,) = moments_of([action(between=(time, time))], end)
    assert moment.start_s == pytest.approx(expected)
    assert moment.end_s == pytest.approx(expected + 1)


def test_only_present_actions_with_a_time_have_a_moment() -> None:
    rows = [action(1), action(2, score=0.1, between=(1.0, 2.0)), action(3, between=(1.0, 2.5))]
    assert [moment.row for moment in moments_of(rows, 10.0)] == [2]


def test_best_action_is_shown_and_its_sentence_remains_for_reading() -> None:
    moments = moments_of([action(1, between=(2.0, 4.0)), action(2, between=(3.0, 6.0))], 20.0)
    found = [moment_at(moments, time) for time in (1.0, 3.5, 5.0, 6.5, 3.0 + READING_S + 0.1)]
    rows = [None if moment is None else moment.row for moment, _ in found]
    assert rows == [None, 0, 1, 1, None]
    assert [is_within for _, is_within in found] == [False, True, True, False, False]
