"""The documentation site is complete and is built without warnings."""

import re
import subprocess
import sys
from pathlib import Path

import yaml

from pipeline.errors import FailureReason
from pipeline.explanation.explanation import WARNINGS

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"


def test_site_is_built_without_warnings(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    page = (tmp_path / "reference" / "model" / "index.html").read_text()
    assert "LaIARSettings" in page
    loaded = re.findall(r'(?:src|href)="(https?://[^"]+)"', (tmp_path / "index.html").read_text())
    assert not [url for url in loaded if url.endswith((".js", ".css", ".woff2"))]


def test_navigation_contains_every_page() -> None:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]

    def pages(entry: object) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        parts = entry.values() if isinstance(entry, dict) else entry
        return [page for part in parts for page in pages(part)]  # type: ignore[attr-defined]

    assert sorted(pages(nav)) == sorted(p.relative_to(DOCS).as_posix() for p in DOCS.rglob("*.md"))


def test_every_failure_and_every_warning_is_explained() -> None:
    page = (DOCS / "faq.md").read_text()
    rows = re.findall(r"^\| (`.+?) \|", page, re.MULTILINE)
    codes = {code for row in rows for code in re.findall(r"`([^`]+)`", row)}
    assert {reason.value for reason in FailureReason} <= codes
    assert {*WARNINGS} <= codes
