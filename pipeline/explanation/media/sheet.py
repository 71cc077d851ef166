"""Contact sheet of an explanation, as in Figure 3 of the paper."""

import io
from pathlib import Path

from PIL import Image, ImageDraw

from pipeline.explanation.explanation import Explanation
from pipeline.explanation.media.painting import (
    LIGHT,
    draw_text,
    font_of,
    line_height,
    wrapped,
)
from pipeline.explanation.media.sheet_rows import (
    ROOM,
    Columns,
    FrameRow,
    TrackRow,
    and_more,
    track_rows,
)
from pipeline.runtime.files import write_atomically

#: Most windows, most sentences of a window, and most frames in a row.
MAX_WINDOWS, MAX_SENTENCES, MAX_FRAMES = 4, 5, 16
#: Sizes in pixels: margin, space between parts, width of the column of objects.
MARGIN, SPACE, OBJECTS = 44, 28, 220
#: Greatest width of a column, least and greatest width of the sheet, greatest width of text.
MAX_COLUMN, MIN_WIDTH, MAX_WIDTH, MAX_TEXT = 340, 1400, 4000, 2800
TITLE, SENTENCE, NOTE = 40, 32, 22


def write_sheet(explanation: Explanation, path: Path) -> None:
    """Write a PNG image with the sampled frames and what the network observes in them.

    Each window that `predictions` refer to has a row of frames below the sentences of its actions.
    Discarded frames and tokens are grey. Below each frame, the named relations of each track are
    written, and below them the transitions with an arrow between both frames. Tokens of a reason
    have a ring.

    Args:
        explanation: the explanation. Frames without an image are drawn on a plain background.
        path: path of the image. The file appears as a whole or not at all.

    Raises:
        OSError: if the file cannot be written.
    """
    buffer = io.BytesIO()
    sheet_image(explanation).save(buffer, "PNG")
    write_atomically(path, buffer.getvalue())


def sheet_image(explanation: Explanation) -> Image.Image:
    """Return the image of `write_sheet`, at most `MAX_WIDTH` pixels wide."""
    frames = explanation.sampling.frames
    windows = [*dict.fromkeys(row.window for row in explanation.predictions)]
    windows = windows or [*dict.fromkeys(frame.window for frame in frames)]
    shown, more = windows[:MAX_WINDOWS], len(windows) - MAX_WINDOWS
    longest = max((sum(f.window == window for f in frames) for window in shown), default=0)
    columns = min(max(longest, 1), MAX_FRAMES)
    column = min((MAX_WIDTH - 2 * MARGIN - OBJECTS) // columns, MAX_COLUMN)
    width = max(2 * MARGIN + OBJECTS + column * columns, MIN_WIDTH)
    parts = [_header(explanation, width)]
    for window in shown:
        parts += _block(explanation, window, width, column)
    notes = [and_more(more, "window")] if more > 0 else []
    legend = (
        "Blue: kept tokens. Grey: discarded frames and tokens. Ring: tokens of the reason of an "
        "action, with its rank. Question mark: the name is uncertain."
    )
    parts.append(_text([*notes, legend], width, NOTE, LIGHT.muted))
    height = sum(part.height for part in parts) + SPACE * (len(parts) - 1) + 2 * MARGIN
    sheet = Image.new("RGB", (width, height), LIGHT.paper)
    y = MARGIN
    for part in parts:
        sheet.paste(part, (0, y))
        y += part.height + SPACE
    return sheet


def _header(explanation: Explanation, width: int) -> Image.Image:
    video = explanation.video
    size = f"{video.width} x {video.height} pixels"
    facts = f"{video.num_frames} frames, {video.duration_s:.1f} s, {size}"
    notes = [f"{w.message[0].upper()}{w.message[1:]}." for w in explanation.warnings if w.message]
    title = _text([video.id], width, TITLE, LIGHT.ink)
    note = _text([facts, " ".join(notes)], width, NOTE, LIGHT.muted)
    return _stacked([title, note], width, 4)


def _block(explanation: Explanation, window: int, width: int, column: int) -> list[Image.Image]:
    """Return the parts of a window: the sentences, and rows of frames with their tracks."""
    mine = [row for row in explanation.predictions if row.window == window]
    chosen = [row for row in mine if row.is_present][:MAX_SENTENCES]
    lines = [f"{row.rank}.  {row.sentence}" for row in chosen]
    colour = LIGHT.ink
    if not lines:
        lines = ["No actions."]
        if mine:
            lines = [f"No action reaches the threshold. The highest score: {mine[0].sentence}"]
        colour = LIGHT.muted
    parts = [_text(lines, width, SENTENCE, colour)]
    if len(explanation.windows) > 1:
        start, end = explanation.windows[window].between_s
        title = f"Window {window + 1} of {len(explanation.windows)}: {start:.1f} to {end:.1f} s"
        parts.insert(0, _text([title], width, NOTE + 3, LIGHT.accent))
    rows = _rows(explanation, window, width, column)
    return [_stacked(parts, width, 8), *rows]


def _rows(explanation: Explanation, window: int, width: int, column: int) -> list[Image.Image]:
    frames = [frame for frame in explanation.sampling.frames if frame.window == window]
    chosen = [row for row in explanation.predictions if row.window == window and row.is_present]
    ranks: dict[int, list[int]] = {}
    for action in chosen[:MAX_SENTENCES]:
        for token in action.reason.tokens:
            ranks.setdefault(token, []).append(action.rank)
    tracks, more = track_rows(explanation, window, ranks)
    parts = []
    for first in range(0, len(frames), MAX_FRAMES):
        part = tuple(frames[first : first + MAX_FRAMES])
        columns = Columns(part, MARGIN + OBJECTS, column)
        rows: list[FrameRow | TrackRow] = [FrameRow(explanation, columns, ranks)]
        rows += [TrackRow(explanation, columns, track, ranks) for track in tracks]
        image = Image.new("RGB", (width, sum(row.height + ROOM for row in rows)), LIGHT.paper)
        draw, y = ImageDraw.Draw(image), 0
        for row in rows:
            row.paint(image, draw, MARGIN, y)
            y += row.height + ROOM
        parts.append(image)
    if more:
        names = dict.fromkeys(explanation.tokens[track.tokens[0]].title for track in more)
        noun = "pair" if explanation.pairs else "object"
        text = f"{and_more(len(more), noun)}: {', '.join(names)}"
        parts.append(_text([text], width, NOTE, LIGHT.muted))
    return parts


def _text(paragraphs: list[str], width: int, size: int, colour: str) -> Image.Image:
    """Return an image of paragraphs over the width of the sheet."""
    font = font_of(size)
    lines = [
        line
        for text in paragraphs
        if text
        for line in wrapped(text, font, min(width - 2 * MARGIN, MAX_TEXT), 4)
    ]
    image = Image.new("RGB", (width, line_height(font) * len(lines)), LIGHT.paper)
    draw = ImageDraw.Draw(image)
    for at, line in enumerate(lines):
        y = line_height(font) * at + line_height(font) / 2
        draw_text(draw, (MARGIN, y), line, font, colour, "lm")
    return image


def _stacked(parts: list[Image.Image], width: int, space: int) -> Image.Image:
    height = sum(part.height for part in parts) + space * (len(parts) - 1)
    image = Image.new("RGB", (width, height), LIGHT.paper)
    y = 0
    for part in parts:
        image.paste(part, (0, y))
        y += part.height + space
    return image
