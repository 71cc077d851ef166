import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.explanation.explanation import Explanation, Warned
from pipeline.explanation.report.page import MAX_ACTIONS, report_page
from pipeline.explanation.report.timeline import MAX_TOKENS
from tests.pipeline.explanation.report.explanation_maker import make_explanation
from tests.pipeline.explanation.report.page_reader import PageReader, read_page

HOSTILE = (
    "<script>alert(1)</script>", '"onload=', "</script>", "<!--", "' onclick='x", "杯子 ☕ é",
    "{{ 7 * 7 }}", "a" * 300, "&lt;b&gt;",
)  # fmt: skip
names = st.sampled_from(HOSTILE) | st.text(
    st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30
)


@given(
    seed=st.integers(0, 99),
    name=names,
    kinds=st.lists(names, min_size=1, max_size=3, unique=True),
    predicates=st.lists(names, min_size=1, max_size=3),
    frames=st.integers(0, 9),
    windows=st.integers(1, 3),
    actions=st.integers(0, 4),
    people=st.integers(0, 3),
    labels=st.none() | st.lists(names, max_size=2).map(tuple),
)
@settings(max_examples=25, deadline=None)
def test_pages_contain_only_their_own_script(
    seed: int,
    name: str,
    kinds: list[str],
    predicates: list[str],
    frames: int,
    windows: int,
    actions: int,
    people: int,
    labels: tuple[str, ...] | None,
) -> None:
    explanation = make_explanation(
        seed,
        name=name,
        objects=kinds,
        predicates=predicates,
        frames=frames,
        windows=windows,
        actions=actions,
        people=people,
        labels=labels,
        images=False,
    )
    explanation = replace(explanation, warnings=(Warned(name, name),))
    reader = read_page(report_page(explanation))
    assert name in reader.texts
    data = json.loads(reader.inside["script"][0])
    assert len(data["actions"]) == actions == len(_with(reader, "role", "tab"))
    assert {int(token) for token in data["tokens"]} <= {token.id for token in explanation.tokens}


def test_names_cannot_end_the_data_of_the_script() -> None:
    page = report_page(make_explanation(objects=HOSTILE[:4], images=False))
    assert "<script>alert" not in page
    data = page.split('id="data">')[1].split("</script>")[0]
    assert "\\u003c/script\\u003e" in data
    assert "<" not in data


def test_page_shows_images_boxes_and_what_is_known_of_names() -> None:
    explanation = make_explanation(seed=2)
    page = report_page(explanation)
    reader = read_page(page)
    assert len(page) < 3_000_000
    assert len(reader.of("image")) == 16
    frames = {row["href"] for row in reader.of("use")}
    assert frames <= {f"#{row['id']}" for row in reader.of("image")}
    for text in ("8.5 s", "93%", "not known", "if the relation to the cup had stayed"):
        assert text in page
    discarded = [row for row in reader.of("g") if row.get("class", "") == "token discarded"]
    marks = sum(not token.keep for token in explanation.tokens)
    assert len(discarded) == marks + 1  # and one in the legend


def test_page_of_an_explanation_from_json_has_boxes_on_a_plain_background() -> None:
    explanation = make_explanation()
    loaded = Explanation.from_dict(json.loads(json.dumps(explanation.to_dict())))
    reader = read_page(report_page(loaded))
    assert not reader.of("image")
    assert {row["href"] for row in reader.of("use")} == {"#frame-none"}


@pytest.mark.parametrize("labels", [None, (), ("c000",)])
def test_annotations_are_shown_if_they_are_known(labels: tuple[str, ...] | None) -> None:
    page = report_page(make_explanation(labels=labels, images=False))
    assert ("annotated actions: none" in page) == (labels == ())
    assert ("✓ annotated" in page) == bool(labels)
    assert ("✗ not annotated" in page) == (labels is not None)


def test_page_without_tokens() -> None:
    explanation = make_explanation(objects=(), warnings=("NO_OBJECT", "EMPTY_SELECTION"))
    page = report_page(explanation)
    reader = read_page(page)
    assert not reader.of("circle")
    assert "without any token" in page
    assert "The video has no tokens" in page
    assert "No sampled frame shows a person with an object." in page


def test_page_of_one_frame() -> None:
    explanation = make_explanation(frames=1, objects=("cup/glass/bottle",))
    assert len(read_page(report_page(explanation)).of("image")) == 1


def test_page_of_fifty_people_names_the_setting() -> None:
    page = report_page(make_explanation(people=50, images=False))
    read_page(page)
    assert "50 people are visible" in page
    assert "--person N" in page
    assert "Person 50: in 16 frames, used in 1" in page


def test_frames_of_a_portrait_keep_their_shape() -> None:
    reader = read_page(report_page(make_explanation(size=(270, 480))))
    frames = [row for row in reader.of("svg") if row.get("class") == "frame"]
    assert frames
    assert {(row["width"], row["height"]) for row in frames} == {("360", "640")}


def test_windows_have_timelines_and_scores_over_time() -> None:
    explanation = make_explanation(seed=1, windows=3, actions=3, images=False)
    reader = read_page(report_page(explanation))
    rows = _with(reader, "class", "window")
    assert [row["data-window"] for row in rows] == ["0", "1", "2"]
    assert ["hidden" in row for row in rows] == [False, True, True]
    assert len([row for row in reader.of("svg") if row.get("class") == "curve"]) == 3


def test_page_of_a_thousand_actions_says_how_many_are_shown() -> None:
    page = report_page(make_explanation(actions=1000))
    reader = read_page(page)
    assert len(_with(reader, "role", "tab")) == MAX_ACTIONS
    assert f"The page shows {MAX_ACTIONS} of 1000 actions." in page
    assert len(page) < 3_000_000


def test_page_of_ten_thousand_tokens_says_how_many_are_shown() -> None:
    kinds = [f"object {number}" for number in range(400)]
    explanation = make_explanation(objects=kinds, frames=32, images=False)
    total = len(explanation.tokens)
    assert total > 10_000
    page = report_page(explanation)
    reader = read_page(page)
    assert f"The timeline shows {MAX_TOKENS} of {total} tokens" in page
    assert len(page) < 3_000_000
    shown = {row["id"] for row in reader.of("g") if row.get("id", "").startswith("token-")}
    reasons = {token for row in explanation.predictions for token in row.reason.tokens}
    assert {f"token-{token}" for token in reasons} <= shown


def test_first_action_is_readable_without_the_script() -> None:
    explanation = make_explanation(images=False)
    reader = read_page(report_page(explanation))
    panels = _with(reader, "role", "tabpanel")
    assert ["hidden" in row for row in panels] == [False, True, True, True, True]
    assert explanation.predictions[0].sentence in reader.texts
    assert reader.of("html") == [{"lang": "en"}]
    assert [tag for tag, _ in reader.elements if tag in ("h1", "header", "main", "footer")] == [
        "header",
        "h1",
        "main",
        "footer",
    ]


def _with(reader: PageReader, name: str, value: str) -> list[dict[str, str]]:
    return [row for _, row in reader.elements if row.get(name) == value]
