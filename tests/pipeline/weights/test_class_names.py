import pytest

from pipeline.datasets.vocabulary import load_vocabulary
from pipeline.errors import UsageError
from pipeline.weights.class_names import first_difference, is_background, match_names
from pipeline.weights.detectors import check_classes

VOCABULARY = load_vocabulary("action_genome")


@pytest.mark.parametrize("background", ["__background__", "background", "Background"])
def test_all_spellings_become_those_of_the_vocabulary(background: str) -> None:
    plain = [name.replace("/", "") for name in VOCABULARY.objects]
    spaced = [name.replace("/", " ").title() for name in VOCABULARY.objects]
    for names in (plain, spaced, [background, *plain], [*plain, background]):
        assert match_names(names, VOCABULARY) == VOCABULARY.objects
    assert is_background(background)


def test_unknown_names_and_inner_backgrounds_are_unchanged() -> None:
    assert match_names(["Person", "teapot"], VOCABULARY) == ("person", "teapot")
    assert match_names(["a", "background", "b"], VOCABULARY) == ("a", "background", "b")


def test_classes_of_weights_may_have_other_spellings() -> None:
    check_classes(["person", "closetcabinet"], ["person", "closet/cabinet"], "w")
    assert first_difference(["a", "B c"], ["A", "b_c"]) is None
    assert first_difference(["a"], ["a", "b"]) == 1
    with pytest.raises(UsageError, match=r"class 1: 'bed' expected, got 'bag'"):
        check_classes(["person", "bag"], ["person", "bed"], "w")
