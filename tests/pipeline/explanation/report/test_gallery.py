import json
import logging
import re
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.explanation.report.gallery import (
    GalleryEntry,
    entry_of,
    gallery_page,
    write_gallery,
)
from tests.pipeline.explanation.report.explanation_maker import make_explanation
from tests.pipeline.explanation.report.page_reader import read_page

HOSTILE = "<script>alert(1)</script>\"onload='x"


def test_entry_contains_the_top_actions_and_a_small_thumbnail() -> None:
    entry = entry_of(make_explanation(actions=9, name="A1"), ["report.html"], Path("/v/A1.mp4"))
    assert (entry.id, entry.link) == ("A1", "A1/report.html")
    assert (entry.files, entry.path) == (("report.html",), "/v/A1.mp4")
    assert len(entry.actions) == 5
    assert [entry.outcome(action) for action in entry.actions[1:3]] == ["right", "wrong"]
    assert entry.thumbnail is not None
    assert 1000 < len(entry.thumbnail) <= 6000
    assert GalleryEntry.from_dict(json.loads(json.dumps(entry.to_dict()))) == entry


def test_entry_without_images_labels_and_actions() -> None:
    entry = entry_of(make_explanation(actions=0, images=False, labels=None), [])
    assert (entry.thumbnail, entry.labels, entry.actions) == (None, None, ())
    read_page("".join(gallery_page([entry])), links=True)


def test_gallery_links_to_the_reports_of_a_folder(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, name in enumerate(("B", "A", "C.v2")):
        explanation = make_explanation(number, name=name, objects=(HOSTILE, "cup"))
        explanation.save(tmp_path, ["html"])
    make_explanation(name="D").save(tmp_path, ["vtt"])
    entry = (tmp_path / "A" / "entry.json").read_text()
    broken = {
        "broken": "{",
        "hostile": entry.replace('"id": "A"', '"id": "../../x"'),
        "huge": re.sub(r'"score": [^,}]+', '"score": 1' + "0" * 400, entry),
    }
    for name, text in broken.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "entry.json").write_text(text)
    with caplog.at_level(logging.WARNING):
        path = write_gallery(tmp_path)
    assert all(name in caplog.text for name in broken)
    assert len(caplog.records) == 3
    reader = read_page(path.read_text(encoding="utf-8"), links=True)
    links = [row["href"] for row in reader.of("a")]
    assert links == ["A/report.html", "B/report.html", "C.v2/report.html"]
    assert len(reader.of("img")) == 3
    assert {p.name for p in tmp_path.iterdir()} == {
        "A",
        "B",
        "C.v2",
        "D",
        "broken",
        "hostile",
        "huge",
        "gallery.html",
    }
    assert {p.name for p in (tmp_path / "A").iterdir()} == {"report.html", "entry.json"}


def test_thousands_of_entries_need_no_more_memory_than_one() -> None:
    entry = replace(entry_of(make_explanation(images=False), []), thumbnail="A" * 6000)

    def entries() -> Iterator[GalleryEntry]:
        for number in range(3000):
            yield replace(entry, id=f"V{number}")

    tracemalloc.start()
    size = sum(len(part) for part in gallery_page(entries()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size > 18_000_000
    assert peak < 2_000_000
