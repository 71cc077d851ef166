"""Initialisation of class embeddings with GloVe vectors."""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from pipeline.errors import UsageError
from relations.sttran import STTran

LOGGER = logging.getLogger(__name__)


def read_word_vectors(path: Path, words: Sequence[str], width: int) -> dict[str, Tensor]:
    """Read the vectors of words from a text file.

    Each line of the file is `word number number ...`.

    Args:
        path: text file such as `glove.6B.200d.txt`. It is read line by line.
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
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                word, _, rest = line.rstrip("\n").partition(" ")
                if number == 1 or word in wanted:
                    values = [float(v) for v in rest.split()]
                    if len(values) != width:
                        raise UsageError(
                            f"{path}: {width} numbers per word expected (network.class_width), "
                            f"got {len(values)} in line {number}"
                        )
                if word in wanted:
                    found.setdefault(word, torch.tensor(values))
        broken = [word for word, vector in found.items() if not vector.isfinite().all()]
        if broken:
            raise ValueError(
                f"finite numbers expected, but the vector of {broken[0]!r} is not finite"
            )
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise UsageError(
            f"training.word_vectors: a text file of word vectors expected, {path}: {error}"
        ) from error
    return found


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
