"""Folder of a trained network with its detector, in the layout of the Hugging Face Hub.

config.json              name of the layout, and the SHA-256 of every other file but README.md
README.md                model card with training data, metrics, limits and licence
detector.safetensors     weights of the detector, with its card
model.json, ...          files of the run folder (`pipeline.weights.run_folder`)
"""

import importlib
import importlib.util
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Template

from pipeline.config.typed_json import parse_json
from pipeline.errors import UsageError
from pipeline.runtime.files import file_sha256, make_folder, write_atomically, write_json
from pipeline.weights.model_card import ModelCard
from pipeline.weights.run_folder import RUN_FILES, read_card

SCHEMA = "laiar.pretrained/1"
CONFIG, README, DETECTOR = "config.json", "README.md", "detector.safetensors"
FILES = (*RUN_FILES, DETECTOR)
TEMPLATE = Path(__file__).with_name("model_card.md.jinja")
_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]*")


def save_folder(
    run: Path, detector: Path, out: Path, *, licence: str, data: str, limits: str = ""
) -> None:
    """Write the folder of a trained network.

    `config.json` is written last, so an interrupted call leaves a folder that `check_folder`
    refuses.

    Args:
        run: run folder of pipeline.train. The metrics of its last evaluation are copied to the
            model card.
        detector: weights file of the detector that the network was trained with.
        out: folder to write.
        licence: identifier of the licence of the weights, such as `apache-2.0`.
        data: one or two sentences about the training data.
        limits: sentences about what the network cannot do, added to those that hold for all.

    Raises:
        UsageError: if a file of the run is missing, the licence or the description is invalid, or
            `out` is the folder of the run or of the detector, or cannot be written.
    """
    if not _LICENCE.fullmatch(licence):
        raise UsageError(f"licence: an identifier such as apache-2.0 expected, got {licence!r}")
    if not data.strip():
        raise UsageError("data: a description of the training data expected")
    card = read_card(run)
    sources = {name: run / name for name in RUN_FILES} | {DETECTOR: detector}
    for path in sources.values():
        if not path.is_file():
            raise UsageError(f"{path}: file not found; finish the training with pipeline.train")
    if out.resolve() in (run.resolve(), detector.resolve().parent):
        raise UsageError(f"out: a folder without the run and the detector expected, got {out}")
    make_folder(out, "out")
    (out / CONFIG).unlink(missing_ok=True)
    for name, path in sources.items():
        shutil.copyfile(path, out / name)
    metrics = _metrics(run)
    text = _readme(card, metrics, licence=licence, data=data.strip(), limits=limits.strip())
    write_atomically(out / README, text.encode())
    files = {name: file_sha256(out / name) for name in FILES}
    write_json(out / CONFIG, {"model_type": "laiar", "schema": SCHEMA, "files": files})


def find_folder(source: str | Path, *, revision: str | None, local_files_only: bool) -> Path:
    """Return the folder of a network: a path, or the name of a repository of the Hub.

    Args:
        source: path of a folder, or `USER/NAME`.
        revision: branch, tag or commit of the repository.
        local_files_only: if True, only repositories in the local cache of the Hub are used.

    Raises:
        UsageError: if there is no such folder, the package huggingface_hub is not installed, or the
            repository is not in the cache.
    """
    path = Path(source)
    if path.is_dir():
        return path
    if not _NAME.fullmatch(str(source)):
        raise UsageError(f"{source}: an existing folder or USER/NAME of the Hub expected")
    if importlib.util.find_spec("huggingface_hub") is None:
        raise UsageError(
            f"{source}: the package huggingface_hub expected, which reads repositories of the Hub; "
            "pip install huggingface_hub, or download the folder and give its path"
        )
    hub = importlib.import_module("huggingface_hub")
    try:
        found = hub.snapshot_download(
            str(source),
            revision=revision,
            local_files_only=local_files_only,
            allow_patterns=[*FILES, CONFIG],
        )
    except Exception as error:  # the Hub raises errors of its own, of requests and of httpx
        how = "; set local_files_only=False to download it" if local_files_only else ""
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UsageError(f"{source}: not available: {first}{how}") from error
    return Path(found)


def check_folder(folder: Path) -> None:
    """Compare the files of a folder with `config.json`.

    Raises:
        UsageError: if a file is missing, was changed or is unknown to this version.
    """
    path = folder / CONFIG
    try:
        tree: Any = parse_json(path.read_text(encoding="utf-8"))
        schema, files = tree["schema"], tree["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path}: a file of save_pretrained expected: {error}") from error
    if schema != SCHEMA or not isinstance(files, dict) or {*files} != {*FILES}:
        raise UsageError(
            f"{path}: {SCHEMA} with the files {', '.join(FILES)} expected, got {str(schema)[:40]}"
        )
    for name, digest in files.items():
        if not (folder / name).is_file():
            raise UsageError(f"{folder / name}: file not found; download the folder again")
        if file_sha256(folder / name) != digest:
            raise UsageError(
                f"{folder / name}: the SHA-256 in {CONFIG} expected, got another one; download the "
                "folder again"
            )


def _metrics(run: Path) -> Mapping[str, Any]:
    path = run / "metrics.json"
    try:
        tree: Any = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {error}; evaluate the network again") from error
    return tree if isinstance(tree, dict) else {}


def _readme(
    card: ModelCard, metrics: Mapping[str, Any], *, licence: str, data: str, limits: str
) -> str:
    rows = [
        ("official mAP", metrics.get("map_official")),
        ("mAR", metrics.get("mar")),
        ("tokens kept", metrics.get("num")),
        ("tokens", metrics.get("num_all")),
        ("accuracy on inverse actions", (metrics.get("inverse_pairs") or {}).get("accuracy")),
    ]
    measured = {name: value for name, value in rows if isinstance(value, int | float)}
    text: str = Template(TEMPLATE.read_text(encoding="utf-8")).render(
        card=card, measured=measured, split=metrics.get("split"), licence=licence, data=data,
        limits=limits,
    )  # fmt: skip
    return text
