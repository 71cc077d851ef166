"""The house is kept: imports point one way, files stay small, nothing names a machine."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = {"detection", "relations", "model", "pipeline", "tools", "tests"}
ALLOWED = {
    "detection": {"detection"},
    "relations": {"relations", "detection"},
    "model": {"model"},
    "pipeline": {"pipeline", "model", "relations", "detection"},
    "tools": {"tools", "pipeline", "model", "relations", "detection"},
}
NO_DISK = {"omegaconf", "argparse", "av", "tqdm", "pandas", "json", "pathlib"}


def _tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return [ROOT / name for name in listed if (ROOT / name).is_file()]


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: absolute imports only"
            names.add((node.module or "").split(".")[0])
    return names


def _python(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_imports_point_one_way(room: str) -> None:
    files = _python(room)
    assert files
    for path in files:
        foreign = (_imports(path) & ROOMS) - ALLOWED[room]
        assert not foreign, f"{path.relative_to(ROOT)} imports {sorted(foreign)}"


@pytest.mark.parametrize("room", ["detection", "relations", "model"])
def test_lower_rooms_know_no_disk_config_or_video(room: str) -> None:
    for path in _python(room):
        known = _imports(path) & NO_DISK
        assert not known, f"{path.relative_to(ROOT)} imports {sorted(known)}"


def test_top_level_is_fixed() -> None:
    folders = {p.relative_to(ROOT).parts[0] for p in _tracked() if p.parent != ROOT}
    assert folders <= ROOMS | {"configs", "docs", ".ci"}


def test_files_and_functions_stay_small() -> None:
    for path in (p for p in _tracked() if p.suffix == ".py"):
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 400, f"{path.relative_to(ROOT)} is over 400 lines"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lines = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
                assert lines <= 60, f"{path.relative_to(ROOT)}: {node.name} has {lines} lines"


def test_nothing_names_a_machine_or_a_registry() -> None:
    forbidden = re.compile(
        r"(?<![\w.])/(?:work|root|home)/|pypi\.(?:org|python)|pythonhosted|npmjs"
    )
    for path in _tracked():
        if path.suffix in {".npz", ".png", ".safetensors"} or path == Path(__file__).resolve():
            continue
        found = forbidden.search(path.read_text(encoding="utf-8", errors="replace"))
        assert not found, f"{path.relative_to(ROOT)}: {found[0] if found else ''}"
        if path.parts[-2:] != (".ci", "run"):
            hit = "../" + "shared" in path.read_text(encoding="utf-8", errors="replace")
            assert not hit, f"{path.relative_to(ROOT)} names the folder beside the checkout"


def test_no_bare_except_and_no_unfinished_mark() -> None:
    mark = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b|NotImplemented" + "Error")
    for path in (p for p in _tracked() if p.suffix == ".py"):
        text = path.read_text(encoding="utf-8")
        assert not mark.search(text), path.relative_to(ROOT)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ExceptHandler):
                assert node.type is not None, f"{path.relative_to(ROOT)}:{node.lineno}"
