"""Tests of the rules of the repository, such as import directions and file sizes."""

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
#: Packages of pipeline/ in order. Each package imports only packages before it.
LAYERS = (
    "errors",
    "config",
    "runtime",
    "decoding",
    "datasets",
    "cache",
    "weights",
    "engine",
    "extraction",
    "samples",
    "evaluation",
    "explanation",
    "prediction",
    "training",
)
MODULES = ("extract", "train", "evaluate", "predict", "predictor")
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
    return {name.split(".")[0] for name in _imported_modules(path)}


def _imported_modules(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: absolute imports only"
            names.add(node.module or "")
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _python(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_top_level_packages_import_in_one_direction(room: str) -> None:
    files = _python(room)
    assert files
    for path in files:
        foreign = (_imports(path) & ROOMS) - ALLOWED[room]
        assert not foreign, f"{path.relative_to(ROOT)} imports {sorted(foreign)}"


def test_pipeline_contains_only_commands_and_packages() -> None:
    there = {p.name.removesuffix(".py") for p in (ROOT / "pipeline").iterdir() if p.name[0] != "_"}
    assert there == {*LAYERS, *MODULES}


@pytest.mark.parametrize("package", LAYERS)
def test_packages_of_pipeline_import_in_one_direction(package: str) -> None:
    place = ROOT / "pipeline" / package
    files = sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
    assert files
    allowed = LAYERS[: LAYERS.index(package) + 1]
    for path in files:
        used = {n.split(".")[1] for n in _imported_modules(path) if n.startswith("pipeline.")}
        foreign = used - set(allowed)
        assert not foreign, f"{path.relative_to(ROOT)} imports {sorted(foreign)}"


def test_each_package_of_pipeline_describes_its_modules() -> None:
    for init in sorted((ROOT / "pipeline").glob("*/**/__init__.py")):
        text = ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))) or ""
        for path in init.parent.glob("*"):
            name = f"{path.name}/" if path.is_dir() else path.stem
            if not name.startswith("__"):
                found = re.search(rf"(?m)^{re.escape(name)} ", text)
                assert found, f"{init.relative_to(ROOT)} does not describe {name}"


@pytest.mark.parametrize("room", ["detection", "relations", "model"])
def test_network_packages_import_no_disk_config_or_video_modules(room: str) -> None:
    for path in _python(room):
        known = _imports(path) & NO_DISK
        assert not known, f"{path.relative_to(ROOT)} imports {sorted(known)}"


def test_top_level_folders_are_fixed() -> None:
    folders = {p.relative_to(ROOT).parts[0] for p in _tracked() if p.parent != ROOT}
    assert folders <= ROOMS | {"configs", "docs", "examples", ".ci", ".github"}


def test_files_and_functions_stay_small() -> None:
    for path in (p for p in _tracked() if p.suffix == ".py"):
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 400, f"{path.relative_to(ROOT)} is over 400 lines"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lines = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
                assert lines <= 60, f"{path.relative_to(ROOT)}: {node.name} has {lines} lines"


def test_files_contain_no_names_of_machines_or_registries() -> None:
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
            assert not hit, (
                f"{path.relative_to(ROOT)} contains the path of a folder outside the checkout"
            )


def test_code_has_no_bare_except_and_no_todo_marks() -> None:
    mark = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b|NotImplemented" + "Error")
    for path in (p for p in _tracked() if p.suffix == ".py"):
        text = path.read_text(encoding="utf-8")
        assert not mark.search(text), path.relative_to(ROOT)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ExceptHandler):
                assert node.type is not None, f"{path.relative_to(ROOT)}:{node.lineno}"


def test_no_literal_is_unpacked_in_another_literal() -> None:
    """Write `"a", "b"` instead of `*("a", "b")`. `# fmt: skip` keeps the layout of a table."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)[:60]}"
        for path in (p for p in _tracked() if p.suffix == ".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Starred) and isinstance(node.value, ast.Tuple | ast.List | ast.Set)
    ]
    assert not found, "write the items without a star and without brackets:\n" + "\n".join(found)
