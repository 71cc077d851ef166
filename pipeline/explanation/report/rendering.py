"""Rendering of templates to self-contained HTML pages."""

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline.explanation.wording import words

TEMPLATES = Path(__file__).with_name("templates")


def seconds(time: float) -> str:
    """Format a time in seconds, such as "1.5 s"."""
    return f"{time:.2f}".rstrip("0").rstrip(".") + " s"


def data_uri(jpeg: str) -> str:
    """Return the `data:` URI of a JPEG image in base64."""
    return f"data:image/jpeg;base64,{jpeg}"


ENVIRONMENT = Environment(
    loader=FileSystemLoader(TEMPLATES),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
ENVIRONMENT.filters |= {"seconds": seconds, "words": words, "data_uri": data_uri}


def render(name: str, **context: Any) -> Iterator[str]:
    """Render a page in parts.

    The content security policy of the page allows its own style and script, and images in `data:`
    URIs. The browser loads and runs nothing else.

    Args:
        name: name of the page: `NAME.html.j2`, `NAME.css` and `NAME.js` are its files.
        **context: variables of the template.
    """
    shared = (TEMPLATES / "shared.css").read_text(encoding="utf-8")
    style = shared + (TEMPLATES / f"{name}.css").read_text(encoding="utf-8")
    script = (TEMPLATES / f"{name}.js").read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; "
        f"script-src '{_hash(script)}'; base-uri 'none'; form-action 'none'"
    )
    return ENVIRONMENT.get_template(f"{name}.html.j2").generate(
        style=Markup(style), script=Markup(script), policy=policy, **context
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
