"""Tests of pages in headless Chromium."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.explanation.report.gallery import write_gallery
from tests.pipeline.explanation.report.explanation_maker import make_explanation

playwright = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
CHROMIUM = shutil.which("chromium")
FLAGS = ["--no-sandbox", "--disable-background-networking"]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs the program chromium"),
]
#: A hostile clip, a clip with several windows, and a portrait without images.
CLIPS: dict[str, dict[str, Any]] = {
    "CLIP": {},
    "EDITED": {"edited": True},
    "WINDOWS": {"seed": 1, "windows": 3, "people": 50, "images": False},
    "PORTRAIT": {"seed": 2, "size": (270, 480), "labels": None, "warnings": ()},
    "EMPTY": {"objects": (), "actions": 1},
    "L" * 60: {
        "objects": ("<script>alert(1)</script>" * 4, "b" * 90),
        "predicates": ("c" * 90,),
        "edited": True,
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("explained")
    for name, options in CLIPS.items():
        make_explanation(name=name, **options).save(out, ["html"])
    write_gallery(out)
    return out


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


def opened(browser: Any, path: Path, width: int = 1440, scheme: str = "light") -> Any:
    """Open a page that fails the test if it logs a message or requests anything else."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.problems = []
    page.on("console", lambda message: page.problems.append(message.text))
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("request", lambda request: page.problems.append(request.url[:80]))
    page.goto(path.as_uri())
    return page


def finish(page: Any, path: Path) -> None:
    requests = [text for text in page.problems if not text.startswith("data:")]
    assert requests == [path.as_uri()[:80]]
    page.close()


@pytest.mark.parametrize("name", [*CLIPS, ""])
def test_pages_are_accessible_and_request_nothing(browser: Any, folder: Path, name: str) -> None:
    path = folder / name / "report.html" if name else folder / "gallery.html"
    for scheme in ("light", "dark"):
        for width in (1440, 390):
            page = opened(browser, path, width, scheme)
            found = axe.Axe().run(page).response["violations"]
            bad = [
                (row["id"], row["nodes"][0]["html"][:200])
                for row in found
                if row["impact"] in ("serious", "critical")
            ]
            assert not bad
            assert page.evaluate("document.documentElement.scrollWidth") == width
            finish(page, path)


def test_keys_choose_actions_and_tokens(browser: Any, folder: Path) -> None:
    path = folder / "CLIP" / "report.html"
    page = opened(browser, path)

    def focused(attribute: str) -> str:
        return page.evaluate(f"document.activeElement.getAttribute('{attribute}') || ''")

    def tab_to(role: str) -> None:
        for _ in range(30):
            page.keyboard.press("Tab")
            if focused("role") == role:
                return
        raise AssertionError(f"no {role} is reached")

    tab_to("tab")
    assert focused("id") == "tab-0"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    assert focused("id") == "tab-2"
    assert [page.is_visible(f"#panel-{i}") for i in range(4)] == [False, False, True, False]
    page.keyboard.press("End")
    assert focused("id") == "tab-4"
    page.focus("#tab-1")
    page.keyboard.press("Enter")
    assert page.get_attribute("#tab-1", "aria-selected") == "true"
    tab_to("button")
    first = page.text_content("#detail-title")
    label = focused("aria-label")
    assert label.startswith(first)
    page.keyboard.press("ArrowRight")
    assert focused("aria-label") != label
    assert focused("aria-label").startswith(page.text_content("#detail-title"))
    assert page.eval_on_selector_all(".timeline [tabindex='0']", "rows => rows.length") == 1
    token = page.locator(".token[role=button]").last
    token.hover(force=True)
    assert token.get_attribute("aria-label").startswith(page.text_content("#detail-title"))
    finish(page, path)


def test_choice_of_an_action_rings_the_tokens_of_its_reason(browser: Any, folder: Path) -> None:
    explanation = make_explanation(name="WINDOWS", **CLIPS["WINDOWS"])
    path = folder / "WINDOWS" / "report.html"
    page = opened(browser, path)
    for rank, prediction in enumerate(explanation.predictions):
        page.click(f"#tab-{rank}")
        shown = "rows => rows.map(row => row.id)"
        ringed = page.eval_on_selector_all(".timeline .token.reason", shown)
        assert sorted(ringed) == sorted(f"token-{token}" for token in prediction.reason.tokens)
        windows = "rows => rows.filter(row => !row.hidden).map(row => row.dataset.window)"
        assert page.eval_on_selector_all(".window", windows) == [str(prediction.window)]
    finish(page, path)


def test_printed_page_of_a_clip_has_at_most_two_pages(browser: Any, folder: Path) -> None:
    page = opened(browser, folder / "CLIP" / "report.html")
    data = page.pdf(prefer_css_page_size=True)
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", data)) <= 2
    page.close()


def test_gallery_is_filtered(browser: Any, folder: Path) -> None:
    path = folder / "gallery.html"
    page = opened(browser, path)

    def count(action: str = "", outcome: str = "", warning: str = "") -> str:
        page.select_option("#action", action)
        page.select_option("#outcome", outcome)
        page.select_option("#warning", warning)
        return page.text_content("#count")

    assert count() == "6 of 6 videos"
    assert count(outcome="right") == "5 of 6 videos"
    assert count(action="c002", outcome="right") == "0 of 6 videos"
    assert count(action="c002", outcome="wrong") == "4 of 6 videos"
    assert count(outcome="unknown") == "1 of 6 videos"
    assert count(warning="-") == "1 of 6 videos"
    assert count(warning="LOW_MARGIN") == "5 of 6 videos"
    finish(page, path)
    page = opened(browser, path)
    page.click("text=PORTRAIT")
    assert page.title().startswith("PORTRAIT ")
    page.close()
