import logging

import pytest

from pipeline.runtime.progress import Progress, duration
from pipeline.runtime.run_record import Counts


def test_log_has_one_line_per_minute_with_the_remaining_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 0.0
    counts = Counts(found=100, skipped=40)
    with caplog.at_level(logging.INFO), Progress(counts, "extract", clock=lambda: now) as progress:
        for _ in range(15):  # ten seconds each
            now += 10.0
            counts.done += 1
            progress.update()
    lines = [record.message for record in caplog.records]
    assert lines == [
        "extract: found 100, done 6, skipped 40, failed 0, pending 54; about 9 min left",
        "extract: found 100, done 12, skipped 40, failed 0, pending 48; about 8 min left",
    ]


def test_duration_chooses_a_readable_unit() -> None:
    assert [duration(s) for s in (3.4, 119, 600, 7300)] == ["3 s", "119 s", "10 min", "2.0 h"]
