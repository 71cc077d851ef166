"""Reader of the test subjects of each fold."""

import re
from collections.abc import Collection
from pathlib import Path

from pipeline.datasets.cad120.files import read_lines
from pipeline.errors import UsageError

_TEST = re.compile(r"testlist([0-9]{1,3})\.txt")


def read_folds(folder: Path, subjects: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Read the files `testlist<N>.txt` and `trainlist<N>.txt`, which list one subject per line.

    Args:
        folder: folder of the files.
        subjects: subjects of all videos.

    Returns:
        Mapping from the number of each fold without leading zeros, such as `1`, to its test
        subjects. All other subjects are its training subjects.

    Raises:
        UsageError: if there is no test list, two test lists have the same number, a list is
            missing or malformed, or a subject of the videos is not in exactly one of the two lists
            of a fold, or a list contains another subject.
    """
    folds: dict[str, tuple[str, ...]] = {}
    for path in sorted(folder.iterdir()):
        if not (match := _TEST.fullmatch(path.name)):
            continue
        number = str(int(match[1]))
        if number in folds:
            raise UsageError(f"{path}: one test list per fold expected, got two for {number}")
        test = _subjects(path, subjects)
        train = _subjects(folder / path.name.replace("test", "train"), subjects)
        for subject in sorted(subjects):
            if (subject in test) == (subject in train):
                count = "both" if subject in test else "none"
                raise UsageError(
                    f"{path}: each subject in either this list or the train list of the fold "
                    f"expected, got {subject} in {count} of them"
                )
        folds[number] = test
    if not folds:
        raise UsageError(
            f"{folder}: files testlist01.txt, testlist02.txt, ... expected, found none"
        )
    return folds


def _subjects(path: Path, subjects: Collection[str]) -> tuple[str, ...]:
    found: list[str] = []
    for number, name in read_lines(path):
        if name not in subjects or name in found:
            raise UsageError(
                f"{path}:{number}: a subject with videos expected, each only once, got "
                f"{name[:80]!r}; the subjects are {', '.join(sorted(subjects))}"
            )
        found.append(name)
    return tuple(found)
