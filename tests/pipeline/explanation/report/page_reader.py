"""Checks of pages with the parser of the standard library."""

import base64
import hashlib
import re
from html.parser import HTMLParser


class PageReader(HTMLParser):
    """Elements, texts, styles and scripts of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.inside: dict[str, list[str]] = {"style": [], "script": []}
        self._last = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._last = tag
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        self._last = ""

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self._last in self.inside:
            self.inside[self._last].append(data)

    def of(self, tag: str) -> list[dict[str, str]]:
        """Return the attributes of the elements with a tag."""
        return [attributes for name, attributes in self.elements if name == tag]


def read_page(page: str, *, links: bool = False) -> PageReader:
    """Read a page and check that it contains only its own script and refers to nothing else.

    Args:
        page: the HTML.
        links: whether the page may link to report pages.
    """
    reader = PageReader(page)
    own = [row for row in reader.of("script") if row.get("type") != "application/json"]
    assert own == [{}]
    assert len(reader.inside["script"]) == len(reader.of("script"))
    for tag, attributes in reader.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        for name in {"src", "href", "xlink:href", "srcset", "action"} & attributes.keys():
            value = attributes[name]
            is_link = links and tag == "a" and re.fullmatch(r"[\w%.~-]+/report\.html", value)
            assert value.startswith(("data:", "#")) or is_link, value
    (policy,) = (row["content"] for row in reader.of("meta") if "http-equiv" in row)
    assert policy.startswith("default-src 'none'; img-src data:; ")
    for directive, text in (
        ("style-src", reader.inside["style"][0]),
        ("script-src", reader.inside["script"][-1]),
    ):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}';" in policy
    ids = [attributes["id"] for _, attributes in reader.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    return reader
