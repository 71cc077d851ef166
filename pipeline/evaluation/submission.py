"""Text files with the scores of videos, as the official evaluation of Charades reads them."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pipeline.errors import UsageError


def submission_line(video_id: str, scores: Iterable[float]) -> str:
    """Return the line of a video: its id and the scores of all classes, separated by spaces."""
    return " ".join([video_id, *(repr(float(score)) for score in scores)]) + "\n"


def read_submission(path: Path) -> tuple[tuple[str, ...], np.ndarray]:
    """Read a submission file.

    Each line contains the id of a video and one score per class, separated by whitespace. Empty
    lines are skipped.

    Args:
        path: path of the text file.

    Returns:
        Ids of V videos, and (V, C) float64 scores.

    Raises:
        UsageError: if the file is not text or is empty, a score is not a finite number, the lines
            have different numbers of scores, or an id is repeated. The message contains the number
            of the line.
    """
    rows: dict[str, list[float]] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: a text file of scores expected: {error}") from error
    width = None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        video_id, *texts = line.split()
        width = width or len(texts)
        if not texts or len(texts) != width:
            raise UsageError(
                f"{path}:{number}: an id and {width} scores expected, got {len(texts)}"
            )
        if video_id in rows:
            raise UsageError(
                f"{path}:{number}: one line per video expected, got a second one of {video_id}"
            )
        try:
            rows[video_id] = [float(text) for text in texts]
        except ValueError as error:
            raise UsageError(f"{path}:{number}: an id and scores expected: {error}") from error
        if not np.isfinite(rows[video_id]).all():
            raise UsageError(f"{path}:{number}: finite scores expected, got NaN or infinity")
    if not rows:
        raise UsageError(f"{path}: lines of an id and scores expected, but the file is empty")
    return tuple(rows), np.array(list(rows.values()))
