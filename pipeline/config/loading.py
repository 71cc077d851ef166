"""Loading of settings from defaults, a YAML file and `key=value` words of the command line."""

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.config.ranges import check_ranges
from pipeline.config.schema import Config
from pipeline.errors import UsageError

Settings = TypeVar("Settings")


@runtime_checkable
class Checked(Protocol):
    """Settings with a consistency check."""

    def check(self) -> None:
        """Raise UsageError if settings contradict each other."""


def load_config(path: Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Load the configuration of all stages.

    See `load_settings` for the arguments and errors.
    """
    return load_settings(Config, path, overrides)


def load_settings(
    schema: type[Settings], path: Path | None = None, overrides: Sequence[str] = ()
) -> Settings:
    """Load and check settings.

    `key=value` words override the YAML file, which overrides the defaults.

    Args:
        schema: dataclass with a default for every field. If it has a method `check`, this method is
            called.
        path: YAML file, or None.
        overrides: words such as `train.epochs=3`.

    Returns:
        An instance of `schema`.

    Raises:
        UsageError: if a key is unknown, a value has the wrong type or is out of its range, settings
            contradict each other, a word is not `key=value`, or the file cannot be read. For an
            unknown key, the message suggests the most similar key.
    """
    tree = OmegaConf.structured(schema)
    if path is not None:
        if not path.is_file():
            raise UsageError(f"--config: file not found: {path}")
        try:
            loaded = OmegaConf.load(path)
        except Exception as error:
            raise UsageError(f"{path}: valid YAML expected: {_first_line(error)}") from error
        if not isinstance(loaded, DictConfig):
            raise UsageError(f"{path}: a mapping of settings expected, got a list")
        tree = _merge(tree, loaded, str(path))
    for word in overrides:
        key, equals, _ = word.partition("=")
        if not equals or not key or key.startswith("-"):
            raise UsageError(f"settings: key=value expected, got {word!r}")
        try:
            patch = OmegaConf.from_dotlist([word])
        except Exception as error:
            raise UsageError(f"{word!r}: key=value expected: {_first_line(error)}") from error
        tree = _merge(tree, patch, "command line")
    try:
        config = OmegaConf.to_object(tree)
    except (ValueError, OmegaConfBaseException) as error:
        raise UsageError(f"settings: {_first_line(error)}") from error
    assert isinstance(config, schema)
    check_ranges(config)
    if isinstance(config, Checked):
        config.check()
    return config


def config_as_dict(config: Any) -> dict[str, Any]:
    """Return settings as a nested dict for JSON, with enums as their names."""
    tree = OmegaConf.to_container(OmegaConf.structured(config), enum_to_str=True)
    assert isinstance(tree, dict)
    return {str(key): value for key, value in tree.items()}


def _merge(tree: DictConfig, patch: DictConfig, origin: str) -> DictConfig:
    try:
        _check_keys(tree, patch, origin)
        merged = OmegaConf.merge(tree, patch)
        OmegaConf.to_container(merged, resolve=True)
    except OmegaConfBaseException as error:
        where = error.full_key or ", ".join(patch)
        raise UsageError(f"{origin}: {where}: {_first_line(error)}") from error
    assert isinstance(merged, DictConfig)
    return merged


def _check_keys(tree: DictConfig, patch: DictConfig, origin: str) -> None:
    known = set(_keys(tree))
    for key in _keys(patch):
        if key not in known:
            near = difflib.get_close_matches(key, known, 1, 0.4) or difflib.get_close_matches(
                key.rsplit(".", 1)[-1], known, 1, 0.4
            )
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"{origin}: unknown setting {key!r}{hint}")
        if OmegaConf.is_list(OmegaConf.select(tree, key)):
            value = OmegaConf.select(patch, key)
            if not OmegaConf.is_list(value):
                raise UsageError(
                    f"{origin}: {key}: a list such as {key}=[{value}] expected, got {value}"
                )


def _keys(tree: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in tree:
        name = f"{prefix}{key!s}"
        yield name
        value = None if OmegaConf.is_missing(tree, key) else tree[key]
        if isinstance(value, DictConfig):
            yield from _keys(value, f"{name}.")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
