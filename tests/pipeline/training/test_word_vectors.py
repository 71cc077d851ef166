from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.training.relations.word_vectors import read_word_vectors


def read(path: Path, text: str | bytes) -> dict[str, list[float]]:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return {word: v.tolist() for word, v in read_word_vectors(path, ["box", "400000"], 3).items()}


@pytest.mark.parametrize("end", ["\n", " \n", "\r\n"])
def test_header_line_is_not_a_vector(tmp_path: Path, end: str) -> None:
    text = end.join(["400000 3", "the 0 0 0", "box 1 2.5 -3e-1", ""])
    assert read(tmp_path / "wiki.vec", text) == {"box": pytest.approx([1, 2.5, -0.3])}
    assert read(tmp_path / "wiki.vec", text.encode("utf-8-sig")).keys() == {"box"}


def test_number_with_a_vector_is_a_word(tmp_path: Path) -> None:
    assert read(tmp_path / "glove.txt", "400000 1 2 3\n") == {"400000": [1, 2, 3]}


def test_word_with_invalid_bytes_is_skipped(tmp_path: Path) -> None:
    text = b"2 3\n\xe4\xb8 4 5 6\nbox 1 2 3\n"
    assert read(tmp_path / "word2vec.txt", text) == {"box": [1, 2, 3]}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("400000 300\n", r"3 numbers per word expected \(network.class_width\), got 300 in line 1"),
        ("2 3\nthe 0 0\n", r"3 numbers per word expected .*got 2 in line 2"),
        (b"2 3\nthe \x9a\x19\xbf\x00", "text file of word vectors expected|numbers per word"),
        ("2 3\nthe a b c\n", "a text file of word vectors expected"),
    ],
)
def test_file_of_another_kind_is_rejected(tmp_path: Path, text: str | bytes, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        read(tmp_path / "vectors.bin", text)
