"""Tests that run the examples in docstrings."""

import doctest
import importlib
import pkgutil
import subprocess
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
#: Public entry points whose docstrings must contain an example.
ENTRY_POINTS = (
    "detection.detections:Detections",
    "model.laiar:LaIAR.recognize",
    "pipeline.cache.clip:CachedClip",
    "pipeline.cache.reader:ClipReader",
    "pipeline.datasets.charades.release:read_annotations",
    "pipeline.decoding.reader:open_video",
    "pipeline.evaluation.metrics:charades_map",
    "relations.graph:RelationGraph",
    "relations.recall:frame_recall",
)


def modules_with_examples() -> list[str]:
    done = subprocess.run(
        ["git", "grep", "-l", "^ *>>> ", "--", "*.py", ":!tests"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    names = (name.removesuffix(".py").removesuffix("/__init__") for name in done.stdout.split())
    return sorted(name.replace("/", ".") for name in names)


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_print_the_documented_output(name: str) -> None:
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted > 0
    assert found.failed == 0


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_entry_points_have_an_example(name: str) -> None:
    assert ">>> " in (pkgutil.resolve_name(name).__doc__ or "")


def test_quickstart_notebook_runs() -> None:
    notebook = nbformat.read(ROOT / "examples" / "quickstart.ipynb", as_version=4)
    place = {"metadata": {"path": str(ROOT)}}
    NotebookClient(notebook, timeout=900, kernel_name="python3", resources=place).execute()
    said = notebook.cells[3].outputs[0].text
    assert "the score would be" in said
