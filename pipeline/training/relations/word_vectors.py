"""Initialisation of class embeddings with word vectors."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from pipeline.errors import UsageError
from relations.sttran import STTran

LOGGER = logging.getLogger(__name__)
#: First line of the text files of word2vec and fastText: number of words, numbers per word.
_HEADER = re.compile(r"\d+ (\d+)")


def read_word_vectors(path: Path, words: Sequence[str], width: int) -> dict[str, Tensor]:
    """Read the vectors of words from a text file.

    Each line of the file is `word number number ...`, as in the files of GloVe. The first line may
    be a header with the numbers of words and of numbers per word, as in the text files of word2vec
    and fastText.

    Args:
        path: text file such as `glove.6B.200d.txt` or `wiki.en.vec`. It is read line by line.
        words: words to look up.
        width: number of values per word.

    Returns:
        Mapping from each word to its (width,) float32 vector. If a word has several lines, the
        first one is used. Words that are not in the file are missing from the mapping.

    Raises:
        UsageError: if the file cannot be read, if a vector is not finite, or if the first line of
            the file or a line of one of the words does not contain `width` numbers.
    """
    wanted = set(words)
    found: dict[str, Tensor] = {}
    try:
        # Some words in the files of word2vec are cut in the middle of a character.
        with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
            is_first = True
            for number, line in enumerate(file, 1):
                word, _, rest = line.rstrip().partition(" ")
                if number == 1 and "\0" in line:
                    raise ValueError("text expected, got NUL characters")
                header = _HEADER.fullmatch(line.rstrip()) if number == 1 else None
                if header and int(header[1]) != width:
                    raise UsageError(_wrong_width(path, width, int(header[1]), number))
                if header or not (is_first or word in wanted):
                    continue
                is_first = False
                values = rest.split()
                if len(values) != width:
                    raise UsageError(_wrong_width(path, width, len(values), number))
                vector = torch.tensor([float(value) for value in values])
                if word in wanted:
                    found.setdefault(word, vector)
        broken = [word for word, vector in found.items() if not vector.isfinite().all()]
        if broken:
            raise ValueError(
                f"finite numbers expected, but the vector of {broken[0]!r} is not finite"
            )
    except (OSError, ValueError) as error:
        raise UsageError(
            f"training.word_vectors: a text file of word vectors expected, {path}: {error}"
        ) from error
    return found


def _wrong_width(path: Path, width: int, found: int, number: int) -> str:
    return (
        f"{path}: {width} numbers per word expected (network.class_width), got {found} in line "
        f"{number}"
    )


def set_class_embeddings(model: STTran, path: Path, objects: Sequence[str]) -> list[str]:
    """Initialise the three tables of class embeddings with word vectors.

    The word of a class is the part of its name before the first `/`, as in STTran. If this word is
    not in the file, the embedding of the class is not changed.

    Args:
        model: relation predictor.
        path: text file of word vectors.
        objects: names of the object classes.

    Returns:
        Classes whose word is not in the file.
    """
    words = [name.split("/")[0] for name in objects]
    vectors = read_word_vectors(path, words, model.settings.class_width)
    tables = [(model.obj_embed, 1), (model.obj_embed2, 1), (model.object_classifier.obj_embed, 0)]
    with torch.no_grad():
        for table, shift in tables:
            for row, word in enumerate(words):
                if word in vectors:
                    table.weight[row + shift] = vectors[word].to(table.weight)
    missing = [name for name, word in zip(objects, words, strict=True) if word not in vectors]
    if missing:
        LOGGER.warning(
            "%s: no word vectors for %s; their embeddings stay random", path, ", ".join(missing)
        )
    return missing
