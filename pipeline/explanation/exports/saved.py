"""Explained videos of an output folder of `pipeline.predict`."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

from pipeline.explanation.explanation import Explanation
from pipeline.explanation.exports.exported import ExportedVideo
from pipeline.explanation.formats import FILES, Format
from pipeline.explanation.prediction_rows import PredictionRow, PredictionRows
from pipeline.explanation.report.gallery import read_entries

LOGGER = logging.getLogger("export")


def saved_videos(out: Path, model_sha256: str) -> Iterator[ExportedVideo]:
    """Read the videos that a network has explained, one by one.

    Videos whose files are missing or damaged, or that another network has explained, are left out
    with a warning.

    Args:
        out: output folder.
        model_sha256: SHA-256 of the weights of the network.
    """
    (name,), rows = FILES[Format.JSON], PredictionRows(out).rows()
    for entry in read_entries(out):
        try:
            tree = json.loads((out / entry.id / name).read_text(encoding="utf-8"))
            explanation = Explanation.from_dict(tree)
            row = rows.get(entry.id)
            if not isinstance(row, PredictionRow):
                raise ValueError("a line of the video in predictions.jsonl expected")
            if not explanation.fingerprint == entry.fingerprint == row.fingerprint:
                raise ValueError("files of one explanation expected")
            if explanation.generator.model_sha256 != model_sha256:
                raise ValueError("it was explained by another network")
        except (OSError, ValueError, RecursionError) as error:
            LOGGER.warning("%s is not exported: %s", entry.id, error)
            continue
        yield ExportedVideo(
            explanation, None if entry.path is None else Path(entry.path), row.scores
        )
