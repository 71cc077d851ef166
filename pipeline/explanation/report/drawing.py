"""Frames with the boxes of a token, as SVG drawings."""

from dataclasses import dataclass
from typing import Any

from pipeline.explanation.explanation import Explanation
from pipeline.explanation.observations import Token

#: Size of a label as a share of the longest side of the frame, and the width of a letter in sizes.
LABEL, LETTER = 0.036, 0.6


@dataclass(frozen=True)
class Rect:
    """Box with its label.

    Attributes:
        rect: attributes of the SVG element `rect`.
        text: attributes of the SVG element `text`.
        label: the label.
    """

    rect: dict[str, float]
    text: dict[str, float]
    label: str


@dataclass(frozen=True)
class Drawing:
    """Frame with the boxes of a token.

    Attributes:
        frame: reference to the image.
        human: first box of the pair, empty if it is the object.
        object: box of the object.
        label: description of the frame in words.
    """

    frame: str
    human: Rect
    object: Rect
    label: str

    def to_dict(self) -> dict[str, Any]:
        """Return the drawing as JSON."""
        return {
            "frame": self.frame,
            "label": self.label,
            "human": vars(self.human),
            "object": vars(self.object),
        }


def canvas(explanation: Explanation) -> dict[str, float]:
    """Return the size of the frames, the size on the page, and the size of labels and lines."""
    width, height = max(explanation.video.width, 1), max(explanation.video.height, 1)
    longest = max(width, height)
    return {
        "width": width,
        "height": height,
        "shown_width": round(640 * width / longest),
        "shown_height": round(640 * height / longest),
        "label": round(LABEL * longest, 2),
        "line": round(0.006 * longest, 2),
    }


def draw(explanation: Explanation, token: Token, label: str) -> Drawing:
    """Draw the frame of a token.

    Args:
        explanation: the explanation.
        token: the token.
        label: description of the frame in words.
    """
    has_image = token.frame_index in explanation.images
    width, height = explanation.video.width, explanation.video.height
    size = LABEL * max(width, height, 1)

    def boxed(box: tuple[float, ...], name: str, *, is_inside: bool) -> Rect:
        x1, y1, x2, y2 = (round(float(value), 1) for value in box)
        name = name if len(name) <= 24 else name[:23] + "…"
        if is_inside:
            top = y1 + 1.2 * size if y2 - y1 > 4 * size else y1 - 0.4 * size
        else:
            top = y2 + 1.1 * size
        if not is_inside and top > height:
            top = y1 - 0.4 * size
        left = max(min(x1 + 0.4 * size, width - LETTER * size * len(name)), 0.0)
        return Rect(
            {"x": x1, "y": y1, "width": max(x2 - x1, 0.0), "height": max(y2 - y1, 0.0)},
            {"x": round(left, 1), "y": round(min(max(top, size), height), 1)},
            name,
        )

    x, y = token.object.box[:2]
    human = boxed((x, y, x, y), "", is_inside=True)
    if not token.is_single:
        human = boxed(token.human.box, token.human.class_, is_inside=True)
    return Drawing(
        frame=f"#frame-{token.frame_index}" if has_image else "#frame-none",
        human=human,
        object=boxed(token.object.box, token.object.class_, is_inside=False),
        label=label,
    )
