"""Names of object classes of other projects in the spelling of a vocabulary."""

from collections.abc import Mapping, Sequence

from pipeline.datasets.vocabulary import Vocabulary, normalize_name


def is_background(name: str) -> bool:
    """Return whether a name means the background, such as `__background__`."""
    return normalize_name(name) == "background"


def match_names(names: Sequence[str], vocabulary: Vocabulary) -> tuple[str, ...]:
    """Return names of object classes in the spelling of a vocabulary, without the background.

    Args:
        names: names in any spelling, such as `closetcabinet`. Background may be first or last.
        vocabulary: vocabulary with the spelling, such as `closet/cabinet`.

    Returns:
        The names in the same order. Names that the vocabulary does not contain are unchanged.
    """
    known = {normalize_name(name): name for name in vocabulary.objects}
    inner = [
        name
        for row, name in enumerate(names)
        if not (is_background(name) and row in (0, len(names) - 1))
    ]
    return tuple(known.get(normalize_name(name), name) for name in inner)


def class_columns(
    names: Sequence[str], objects: Sequence[str], aliases: Mapping[str, str]
) -> tuple[int, ...]:
    """Return the class of a vocabulary of each class of a detector, by its names and aliases.

    Args:
        names: names of the classes of the detector, without background.
        objects: names of the classes of the vocabulary.
        aliases: other names of these classes (`Vocabulary.aliases`).

    Returns:
        Index of the class, or -1 for a class that the vocabulary does not contain.
    """
    index = {normalize_name(name): index for index, name in enumerate(objects)}
    known = {alias: index[normalize_name(name)] for alias, name in aliases.items()} | index
    return tuple(known.get(normalize_name(name), -1) for name in names)


def first_difference(found: Sequence[str], expected: Sequence[str]) -> int | None:
    """Return the first index at which two lists name different classes, in any spelling.

    Returns:
        The index, which is the length of the shorter list if one continues the other, or None if
        the lists name the same classes in the same order.
    """
    for row, (a, b) in enumerate(zip(found, expected, strict=False)):
        if normalize_name(a) != normalize_name(b):
            return row
    return None if len(found) == len(expected) else min(len(found), len(expected))
