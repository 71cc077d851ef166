from pathlib import Path

import pytest
from PIL import Image

from pipeline.errors import UsageError
from tests.pipeline.explanation.report.explanation_maker import make_explanation
from tools.pictures import REASON_MS, STEP_MS, TEXT_HEIGHT, WIDTH, animate, screenshot


def test_animation_shows_the_frames_of_the_window_and_stays_longer_at_the_reason(
    tmp_path: Path,
) -> None:
    explanation = make_explanation(1, frames=6, windows=2)
    prediction = next(p for p in explanation.predictions if p.window == 1 and p.reason.tokens)
    animate(explanation, prediction, tmp_path / "clip.webp")
    moments = {explanation.tokens[i].t for i in prediction.reason.tokens}
    with Image.open(tmp_path / "clip.webp") as picture:
        assert picture.size == (WIDTH, WIDTH * 270 // 480 + TEXT_HEIGHT)
        assert picture.n_frames == 3  # type: ignore[attr-defined]
        for place, frame in enumerate(f for f in explanation.sampling.frames if f.window == 1):
            picture.seek(place)
            picture.load()
            assert picture.info["duration"] == (REASON_MS if frame.t in moments else STEP_MS)


def test_browser_that_does_not_start_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("playwright")
    (tmp_path / "report.html").write_text("<p>report</p>")
    with pytest.raises(UsageError, match="--browser: absent does not start"):
        screenshot(tmp_path / "report.html", tmp_path / "report.webp", "absent")
