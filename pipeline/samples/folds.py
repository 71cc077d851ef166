"""Folds: divisions of the videos of a dataset into training and test videos.

The folds of a dataset such as CAD-120 are test subjects, which the cache lists. For a dataset with
one split, such as Charades, a JSON file lists the videos of each fold (`tools.make_folds`):

    {"schema": "laiar.folds/1", "folds": {"scenes-1": {"train": [ID, ...], "test": [ID, ...]}}}
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.cache.folder import CacheInfo
from pipeline.datasets.ids import is_safe_id
from pipeline.errors import UsageError
from pipeline.runtime.files import json_sha256
from pipeline.weights.cards import read_json
from pipeline.weights.files import ROOT

FOLDS_SCHEMA = "laiar.folds/1"
_SPLITS = ("train", "test")
_TO_CREATE = "create the file with: python -m tools.make_folds --annotations DIR --out FILE"


@dataclass(frozen=True)
class Fold:
    """Training and test videos of a fold.

    Attributes:
        subjects: test subjects; all other subjects are training subjects. None if `videos` lists
            the videos.
        videos: maps `train` and `test` to the ids of their videos, or None.
    """

    subjects: tuple[str, ...] | None = None
    videos: Mapping[str, frozenset[str]] | None = None

    def has(self, split: str, video_id: str, subject: str | None) -> bool:
        """Return whether a video belongs to a split.

        Args:
            split: `train` or `test`.
            video_id: id of the video.
            subject: id of the filmed person.
        """
        if self.videos is not None:
            return video_id in self.videos[split]
        return (subject in (self.subjects or ())) == (split == "test")

    def describe(self, split: str) -> str:
        """Describe the videos of a split for an error message."""
        if self.videos is not None:
            return f"the {len(self.videos[split])} {split} videos of the fold"
        chosen = ", ".join(self.subjects or ())
        return (
            f"the test subjects ({chosen})"
            if split == "test"
            else f"the training subjects (all but {chosen})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the subjects or the sorted ids as JSON."""
        if self.videos is None:
            return {"subjects": [*(self.subjects or ())]}
        return {split: sorted(self.videos[split]) for split in _SPLITS}

    @property
    def sha256(self) -> str:
        """SHA-256 of the subjects or the ids."""
        return json_sha256(self.to_dict())


def find_fold(
    name: str | None, folds: Mapping[str, tuple[str, ...]], file: str | None = None
) -> Fold | None:
    """Return a fold, or None for a dataset with one split.

    Args:
        name: name of the fold (setting `fold`).
        folds: mapping from the name of each fold of the dataset to its test subjects.
        file: JSON file that lists the videos of each fold (setting `folds`), for a dataset without
            folds. A relative path is also searched in the repository.

    Raises:
        UsageError: if the dataset or the file has folds and the fold is not one of them, if there
            are none and a fold is given, if both exist, or if the file is malformed.
    """
    if file is None:
        if not folds:
            if name is not None:
                raise UsageError(
                    f"fold={name}: the dataset has no folds; leave it out, or set folds=FILE to a "
                    f"file that lists the videos of each fold; {_TO_CREATE}"
                )
            return None
        return Fold(subjects=folds[_known(name, folds)])
    if folds:
        raise UsageError(f"folds={file}: the dataset has folds of its own; leave the setting out")
    listed = read_folds(file)
    return Fold(videos=listed[_known(name, listed)])


def find_fold_of(name: str | None, file: str | None, info: CacheInfo) -> Fold | None:
    """Return a fold of the dataset of a cache, see `find_fold`.

    Raises:
        UsageError: also if a test video of the fold is not a labelled test video of the dataset.
            The metrics would then be computed on other videos than the fold lists.
    """
    fold = find_fold(name, info.folds, file)
    if fold is not None and fold.videos is not None and info.test_videos:
        unknown = fold.videos["test"] - {video.id for video in info.test_videos}
        if unknown:
            raise UsageError(
                f"folds={file}: labelled test videos of the dataset expected in the test list of "
                f"fold {name}, {len(unknown)} are not, such as {min(unknown)}; {_TO_CREATE}"
            )
    return fold


def read_folds(file: str) -> dict[str, dict[str, frozenset[str]]]:
    """Read a file of folds.

    Args:
        file: path of the file. A relative path is also searched in the repository.

    Returns:
        Mapping from the name of each fold to its splits, `train` and `test`.

    Raises:
        UsageError: if the file does not exist or is malformed, or a fold has an empty list, an id
            twice or an unsafe id.
    """
    path = Path(file) if Path(file).exists() else ROOT / file
    if not path.is_file():
        raise UsageError(f"folds: a file expected, {file} does not exist; {_TO_CREATE}")
    try:
        tree = read_json(path)
        if tree["schema"] != FOLDS_SCHEMA:
            raise ValueError(f"schema {FOLDS_SCHEMA!r} expected, got {tree['schema']!r}")
        if not tree["folds"]:
            raise ValueError("at least one fold expected, got none")
        return {str(name): _splits(name, lists) for name, lists in tree["folds"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"folds: {file}: lists of train and test videos per fold expected, got "
            f"{type(error).__name__}: {error}; {_TO_CREATE}"
        ) from error


def _splits(name: str, lists: Mapping[str, list[str]]) -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for split in _SPLITS:
        ids = lists[split]
        for video_id in ids:
            if not isinstance(video_id, str) or not is_safe_id(video_id):
                raise ValueError(f"fold {name}: ids of videos expected, got {video_id!r}")
        found[split] = frozenset(ids)
        if not ids or len(found[split]) < len(ids):
            raise ValueError(f"fold {name}: different ids expected in {split!r}, got {len(ids)}")
    both = found["train"] & found["test"]
    if both:
        raise ValueError(f"fold {name}: {min(both)} is a training and a test video")
    return found


def _known(name: str | None, folds: Mapping[str, Any]) -> str:
    if name is None or name not in folds:
        got = "none" if name is None else name
        raise UsageError(f"fold: one of {', '.join(folds)} expected, got {got}")
    return name
