"""Scores that the test of SlowFast saves (`TEST.SAVE_RESULTS_PATH`).

The file is a pickle of two tensors: the predictions and the labels of V videos, (V, C) each. It
contains no ids: row i belongs to the video that is the i-th in `val.csv`, the list of frames that
SlowFast tests. Predictions are initialised to -1e10 and replaced by the maximum over the clips of a
video (`DATA.ENSEMBLE_METHOD max`).
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.errors import UsageError
from pipeline.weights.torch_files import load_tensor_pickle

#: Largest score of a video that was not tested.
_UNTESTED = -1e9
_HEADER = ("original_vido_id", "original_video_id")


def read_slowfast_scores(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read the scores and labels of a SlowFast test. No code of the file runs.

    Args:
        path: path of the pickle.

    Returns:
        (V, C) float64 scores, (V, C) bool labels, and (V,) bool, whether a video was tested.

    Raises:
        UsageError: if the file has another content, belongs to a dataset with one label per video,
            contains the labels instead of the predictions, or contains no predictions.
    """
    tree = load_tensor_pickle(path)
    if not isinstance(tree, list | tuple) or len(tree) != 2:
        raise UsageError(f"{path}: [predictions, labels] expected, got {type(tree).__name__}")
    scores, labels = (_array(value, path) for value in tree)
    if labels.ndim == 1:
        raise UsageError(
            f"{path}: labels of shape (videos, classes) expected, got one label per video; the mAP "
            "requires a multi-label dataset such as Charades"
        )
    if scores.ndim != 2 or scores.shape != labels.shape or not scores.size:
        raise UsageError(
            f"{path}: predictions and labels of one shape (videos, classes) expected, got "
            f"{scores.shape}, {labels.shape}"
        )
    if not np.isin(labels, (0, 1)).all() or np.isnan(scores).any():
        raise UsageError(f"{path}: numbers as predictions and labels of 0 and 1 expected")
    if np.array_equal(scores, labels):
        raise UsageError(
            f"{path}: predictions expected, got the labels twice, as some versions of SlowFast "
            "save them; test again with a version that saves [all_preds, all_labels]"
        )
    tested = np.any(scores > _UNTESTED, axis=1)
    if not tested.any():
        raise UsageError(
            f"{path}: predictions expected, got -1e10 for all videos; test again with "
            "DATA.ENSEMBLE_METHOD max"
        )
    return scores, labels.astype(bool), tested


def read_frame_list(path: Path) -> tuple[str, ...]:
    """Read the ids of the videos of a SlowFast test, in the order of its rows.

    Args:
        path: path of SlowFast's `val.csv` with the columns `original_vido_id video_id frame_id path
            labels`, or of a text file with one id per line.

    Returns:
        The ids, each one once, in the order of their first lines.

    Raises:
        UsageError: if the file is not text or contains no id.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            ids = dict.fromkeys(line.split(maxsplit=1)[0] for line in file if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--list: a text file expected: {error}") from error
    for name in _HEADER:
        ids.pop(name, None)
    if not ids:
        raise UsageError(f"--list: ids of videos expected in {path}, found none")
    return tuple(ids)


def _array(value: Any, path: Path) -> np.ndarray:
    if not isinstance(value, torch.Tensor) or value.layout != torch.strided:
        raise UsageError(f"{path}: two tensors expected, got {type(value).__name__}")
    return np.asarray(value.detach().cpu().double().numpy())
