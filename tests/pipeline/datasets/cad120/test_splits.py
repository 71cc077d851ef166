from pathlib import Path

import pytest

from pipeline.datasets.cad120.splits import read_folds
from pipeline.errors import UsageError

SUBJECTS = {"S1", "S2", "S3"}


def write(folder: Path, **lists: str) -> Path:
    for name, text in lists.items():
        (folder / f"{name}.txt").write_text("\n".join(text.split()))
    return folder


def test_folds_have_the_subjects_of_their_test_lists(tmp_path: Path) -> None:
    write(tmp_path, testlist01="S1 S3", trainlist01="S2", testlist10="S2", trainlist10="S3 S1")
    write(tmp_path, notes="S9")
    assert read_folds(tmp_path, SUBJECTS) == {"1": ("S1", "S3"), "10": ("S2",)}


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({}, r"files testlist01\.txt, .* expected, found none"),
        ({"testlist01": "S1"}, r"file not found: .*trainlist01\.txt"),
        ({"testlist01": "S1", "trainlist01": "S1 S2 S3"}, "either .* expected, got S1 in both"),
        ({"testlist01": "S1", "trainlist01": "S2"}, "either .* expected, got S3 in none"),
        ({"testlist01": "S9", "trainlist01": "S1 S2 S3"}, r"testlist01\.txt:1: .* got 'S9'"),
        ({"testlist01": "S1", "trainlist01": "S2 S9"}, r"trainlist01\.txt:2: .* got 'S9'"),
        ({"testlist01": "S1 S1", "trainlist01": "S2 S3"}, r"testlist01\.txt:2: .* got 'S1'"),
        ({"testlist01": "", "trainlist01": "S1 S2 S3"}, r"testlist01\.txt: at least one line"),
        (
            {"testlist01": "S1", "trainlist01": "S2 S3", "testlist1": "S1", "trainlist1": "S2 S3"},
            "one test list per fold expected, got two for 1",
        ),
    ],
)
def test_faulty_lists_are_rejected(tmp_path: Path, lists: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_folds(write(tmp_path, **lists), SUBJECTS)
