"""Search for annotation files by their release names."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import UsageError

TRAIN, TEST = "Charades_v1_train.csv", "Charades_v1_test.csv"
CLASSES = "Charades_v1_classes.txt"
OBJECTS_PKL, PERSONS_PKL = "object_bbox_and_relationship.pkl", "person_bbox.pkl"
NAMES = frozenset({TRAIN, TEST, CLASSES, OBJECTS_PKL, PERSONS_PKL})


def locate(folders: Sequence[Path]) -> dict[str, Path]:
    """Find the files named in `NAMES`.

    Args:
        folders: folders to search, including their subfolders.

    Returns:
        Mapping from release name to path. It contains only the files that exist.

    Raises:
        UsageError: if a folder does not exist, a name occurs twice, or no file is found.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"--annotations: folder not found: {folder}")
        for path in sorted(folder.rglob("*")):
            if path.name not in NAMES or not path.is_file():
                continue
            known = found.setdefault(path.name, path)
            if not known.samefile(path):
                raise UsageError(
                    f"--annotations: one {path.name} expected, found {known} and {path}; "
                    "provide only the folder of the correct file"
                )
    if not found:
        raise UsageError(
            f"--annotations: at least one of {', '.join(sorted(NAMES))} expected below "
            f"{', '.join(map(str, folders))}, found none"
        )
    return found
