"""Reader of YAML files that contain only names and other text."""

from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import UsageError


class _TextLoader(yaml.BaseLoader):  # type: ignore[misc]  # PyYAML has no types
    """Loader that reads every scalar as text and rejects duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping with unique keys."""
        seen = set()
        for key, _ in node.value:
            if not isinstance(key.value, str) or key.value in seen:
                problem = f"unique keys of text expected, got {str(key.value)[:60]!r}"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value)
        return dict(super().construct_mapping(node, deep))


def read_text_yaml(path: Path) -> Any:
    """Read a YAML file whose scalars are text.

    Words such as `on`, `no`, `null` and `1.0` are names here, not booleans, null and numbers.

    Args:
        path: path of the file.

    Returns:
        Nested dicts and lists of text. An empty file is empty text.

    Raises:
        UsageError: if the file cannot be read, is not valid YAML, or a mapping has a key twice.
    """
    try:
        return yaml.load(path.read_bytes(), _TextLoader) or ""
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = path if mark is None else f"{path}:{mark.line + 1}"
        raise UsageError(f"{where}: valid YAML expected: {error.problem}") from error
    except (yaml.YAMLError, OSError, RecursionError) as error:
        raise UsageError(f"{path}: valid YAML expected: {error}") from error
