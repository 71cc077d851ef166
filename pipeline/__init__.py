"""Commands of LaIAR, with all code that accesses files or settings.

The commands are `pipeline.extract`, `pipeline.train`, `pipeline.evaluate` and `pipeline.predict`.
The API consists of `LaIARPredictor` and `Explanation`.
"""

import importlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.explanation.explanation import Explanation
    from pipeline.predictor import LaIARPredictor

__all__ = ["Explanation", "LaIARPredictor"]

_ROOT = Path(__file__).resolve().parent.parent
for _name in ("detection", "relations", "model"):
    _spec = importlib.util.find_spec(_name)
    if _spec is None or _spec.origin is None or Path(_spec.origin).resolve().parent.parent != _ROOT:
        raise ImportError(
            f"the folder {_name}/ next to pipeline/ expected, found "
            f"{_spec.origin if _spec else 'no package'}; run from the repository root: cd {_ROOT}"
        )

_EXPORTED = {
    "Explanation": "pipeline.explanation.explanation",
    "LaIARPredictor": "pipeline.predictor",
}


def __getattr__(name: str) -> Any:
    """Import an exported class on first use, so that other packages do not import torch."""
    if name not in _EXPORTED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTED[name]), name)
