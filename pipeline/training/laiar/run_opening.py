"""Opening of the run folder of a training run."""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pipeline.config.loading import config_as_dict, load_config
from pipeline.config.schema import Config
from pipeline.errors import UsageError
from pipeline.runtime.files import write_atomically
from pipeline.runtime.writers import is_temporary, sweep_temporary_files
from pipeline.training.laiar.job import TrainingJob
from pipeline.training.state import STATE_FILE
from pipeline.weights.run_folder import (
    BANK,
    CALIBRATION,
    CARD,
    FAMILIARITY,
    SETTINGS,
    WEIGHTS,
    read_card,
    write_card,
)

#: Settings that do not change the weights.
_FREE = (
    "train.accumulate",
    "train.workers",
    "train.memory_gb",
    "train.threads",
    "train.tensorboard",
)


def open_run(run: Path, job: TrainingJob, config: Config) -> None:
    """Create a run folder, or check that an existing folder belongs to this training run.

    Raises:
        UsageError: if the folder contains other files or another training run, or is not writable.
    """
    if (run / CARD).is_file():
        there = read_card(run).training.get("fingerprint")
        if (run / STATE_FILE).is_file() and there != job.fingerprint:
            raise UsageError(
                f"--run: {run} contains a training run with other settings or another cache "
                f"({_other_setting(run, config)}); use the same settings and cache, or another "
                "--run; --init-from starts a new run with the weights of a network"
            )
    elif run.is_dir() and not all(map(is_temporary, run.iterdir())):
        raise UsageError(
            f"--run: an empty folder or a run folder of pipeline.train expected, got {run}"
        )
    try:
        run.mkdir(parents=True, exist_ok=True)
        if not (run / STATE_FILE).is_file():
            for name in (WEIGHTS, BANK, CALIBRATION, FAMILIARITY):  # of another training run
                (run / name).unlink(missing_ok=True)
            write_card(run, job.card)
        if not (run / STATE_FILE).is_file() or not (run / SETTINGS).is_file():
            text = OmegaConf.to_yaml(OmegaConf.create(config_as_dict(config)))
            write_atomically(run / SETTINGS, text.encode())
        sweep_temporary_files(run)
    except OSError as error:
        raise UsageError(f"--run: a writable folder expected, {run}: {error.strerror}") from error


def _other_setting(run: Path, config: Config) -> str:
    """Describe the first setting that differs from those of a run folder."""
    try:
        there = _flat(config_as_dict(load_config(run / SETTINGS)))
    except UsageError:
        return f"{run / SETTINGS} cannot be read"
    here = _flat(config_as_dict(config))
    for key in sorted(here.keys() | there.keys()):
        fixed = key.startswith(("model.", "loss.", "train.", "relations", "branch", "boxes"))
        if fixed and key not in _FREE and here.get(key) != there.get(key):
            return f"{key}={there.get(key)} there, {here.get(key)} here"
    return "the settings are equal"


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {prefix.rstrip("."): tree}
    rows = [_flat(value, f"{prefix}{key}.") for key, value in tree.items()]
    return {key: value for row in rows for key, value in row.items()}
