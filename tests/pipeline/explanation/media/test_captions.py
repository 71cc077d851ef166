import base64
import re
import shutil
from dataclasses import replace
from typing import Any

import pytest

from pipeline.explanation.explanation import Explanation
from pipeline.explanation.media.captions import captions
from pipeline.explanation.observations import Token, Track, Transition
from tests.pipeline.explanation.report.explanation_maker import make_explanation

HOSTILE = ("<script>&amp; --> x", "a\n\n00:00.000 --> 00:01.000\nb", "杯子")


def small(said: str = "hhnnh", kept: str = "11111", step: float = 0.5) -> Explanation:
    """Return an explanation of one track of a cup.

    Args:
        said: first letters of the contacting predicate in each sampled frame; `-` for no cup.
        kept: 1 for kept tokens.
        step: seconds between sampled frames.
    """
    whole = make_explanation(frames=len(said), objects=("cup",), predicates=("holding",))
    tokens: list[Token] = []
    for t, letter in enumerate(said):
        if letter == "-":
            continue
        word = {"h": "holding", "n": "not_contacting"}[letter]
        name = replace(
            whole.tokens[0].names[2], predicate=word, predicates=(word,), status="confident"
        )
        time = step * t + step / 2
        tokens.append(
            replace(
                whole.tokens[0],
                id=len(tokens),
                t=t,
                time_s=time,
                keep=kept[t] == "1",
                names=(name,),
            )
        )
    frames = tuple(
        replace(frame, time_s=step * frame.t + step / 2) for frame in whole.sampling.frames
    )
    change = Transition(
        0, 0, "cup", "contacting", "holding", "not_contacting", (0.75, 1.25), (1, 2)
    )
    return replace(
        whole,
        video=replace(whole.video, duration_s=step * len(said)),
        sampling=replace(whole.sampling, frames=frames),
        tracks=(Track(0, "cup", tuple(token.id for token in tokens)),),
        tokens=tuple(tokens),
        transitions=(change,) if len(tokens) > 2 else (),
        predictions=(),
    )


def cues(explanation: Explanation) -> list[tuple[str, str]]:
    """Return the times and the text of each cue."""
    blocks = captions(explanation).split("\n\n")
    assert blocks[0] == "WEBVTT"
    return [tuple(block.strip().split("\n")[1:]) for block in blocks[1:]]  # type: ignore[misc]


def test_relations_and_transitions_have_cues() -> None:
    assert cues(small()) == [
        ("00:00:00.000 --> 00:00:01.000", "cup: holding"),
        ("00:00:00.750 --> 00:00:01.250", "cup: holding → not contacting"),
        ("00:00:01.000 --> 00:00:02.000", "cup: not contacting"),
        ("00:00:02.000 --> 00:00:02.500", "cup: holding"),
    ]


@pytest.mark.parametrize(("said", "kept"), [("hhhhh", "11011"), ("hh-hh", "11111")])
def test_cues_end_at_discarded_and_missing_tokens(said: str, kept: str) -> None:
    found = [cue for cue in cues(small(said, kept)) if "→" not in cue[1]]
    assert found == [
        ("00:00:00.000 --> 00:00:01.000", "cup: holding"),
        ("00:00:01.500 --> 00:00:02.500", "cup: holding"),
    ]


def test_long_videos_and_single_frames_have_valid_times() -> None:
    assert cues(small(step=3600.0))[-1][0] == "04:00:00.000 --> 05:00:00.000"
    assert cues(small("h")) == [("00:00:00.000 --> 00:00:00.500", "cup: holding")]
    assert captions(make_explanation(objects=())) == "WEBVTT\n"


@pytest.mark.browser
def test_a_browser_reads_all_cues() -> None:
    playwright: Any = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs the program chromium")
    explanation = make_explanation(objects=HOSTILE, predicates=(*HOSTILE, "holding"), windows=2)
    text = captions(explanation)
    data = base64.b64encode(text.encode()).decode()
    page_text = f'<video><track default src="data:text/vtt;base64,{data}"></video>'
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_content(page_text)
        read = """() => new Promise((done, failed) => {
            const track = document.querySelector("track");
            track.onerror = () => failed("not valid");
            track.onload = () => done([...track.track.cues].map(
                cue => [cue.id, cue.startTime, cue.endTime, cue.getCueAsHTML().textContent]));
            track.track.mode = "hidden";
            if (track.readyState === 2) track.onload();
        })"""
        found = page.evaluate(read)
        browser.close()
    assert len(found) == text.count(" --> ") > 30
    assert all(start < end for _, start, end, _ in found)
    said = {line for _, _, _, line in found}
    for name in HOSTILE:
        shown = re.escape(" ".join(name.split()))
        assert any(re.match(f"{shown}: ", line) for line in said)
