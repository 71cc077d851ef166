"""Search for annotation files by their release names."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import UsageError

TRAIN, TEST = "Charades_v1_train.csv", "Charades_v1_test.csv"
CLASSES = "Charades_v1_classes.txt"
OBJECTS_PKL, PERSONS_PKL = "object_bbox_and_relationship.pkl", "person_bbox.pkl"
#: The release of STTran: `OBJECTS_PKL` without the boxes whose short edge is below 16 pixels.
FILTERED_PKL = "object_bbox_and_relationship_filtersmall.pkl"
#: Mapping from file name to release name.
NAMES = {name: name for name in (TRAIN, TEST, CLASSES, OBJECTS_PKL, PERSONS_PKL)}
NAMES[FILTERED_PKL] = OBJECTS_PKL


def locate(folders: Sequence[Path]) -> dict[str, Path]:
    """Find the files named in `NAMES`.

    Args:
        folders: folders to search, including their subfolders.

    Returns:
        Mapping from release name to path. It contains only the files that exist. The path of
        `OBJECTS_PKL` may be a file with the name `FILTERED_PKL`.

    Raises:
        UsageError: if a folder does not exist, there are two files for one release name, or no
            file is found.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"--annotations: folder not found: {folder}")
        for path in sorted(folder.rglob("*")):
            if path.name not in NAMES or not path.is_file():
                continue
            name = NAMES[path.name]
            known = found.setdefault(name, path)
            if not known.samefile(path):
                raise UsageError(
                    f"--annotations: one {name} expected, found {known} and {path}; provide only "
                    "the folder of the correct file, or move the other file to another folder"
                )
    if not found:
        raise UsageError(
            f"--annotations: at least one of {', '.join(sorted(NAMES))} expected below "
            f"{', '.join(map(str, folders))}, found none; for another dataset, set dataset=NAME"
        )
    return found
