"""Commands of LaIAR, with all code that accesses files or settings.

The commands are `pipeline.extract`, `pipeline.train`, `pipeline.evaluate` and `pipeline.predict`.
"""

import importlib.util
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
for _name in ("detection", "relations", "model"):
    _spec = importlib.util.find_spec(_name)
    if _spec is None or _spec.origin is None or Path(_spec.origin).resolve().parent.parent != _ROOT:
        raise ImportError(
            f"the folder {_name}/ next to pipeline/ expected, found "
            f"{_spec.origin if _spec else 'no package'}; run from the repository root: cd {_ROOT}"
        )
