"""Datasets by name."""

from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.datasets.annotations import Annotations, ReadOptions
from pipeline.datasets.cad120.annotations import read_cad120
from pipeline.datasets.charades.release import read_annotations
from pipeline.datasets.vocabulary import Vocabulary

Reader = Callable[[Sequence[Path], Vocabulary, ReadOptions], Annotations]
#: Mapping from dataset name to reader.
READERS: dict[str, Reader] = {"charades": read_annotations, "cad120": read_cad120}


def read_dataset(
    name: str, folders: Sequence[Path], vocabulary: Vocabulary, options: ReadOptions | None = None
) -> Annotations:
    """Read all annotation files of a dataset.

    Args:
        name: name of the dataset, a key of `READERS`.
        folders: folders that contain the files, possibly in subfolders.
        vocabulary: names of the object classes and predicates.
        options: pairs and frames to read.

    Returns:
        Annotations of all videos.

    Raises:
        UsageError: if the reader of the dataset rejects the files.
    """
    return READERS[name](folders, vocabulary, options or ReadOptions())
