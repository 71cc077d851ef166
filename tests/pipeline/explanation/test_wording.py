from pathlib import Path

import pytest

from pipeline.datasets.vocabulary import load_vocabulary
from pipeline.errors import UsageError
from pipeline.explanation import wording
from pipeline.explanation.wording import load_wording


@pytest.mark.parametrize("name", ["action_genome", "cad120"])
def test_all_predicates_have_words_and_all_words_are_known(name: str) -> None:
    words, vocabulary = load_wording(name), load_vocabulary(name)
    assert {*words.predicates} == {*vocabulary.predicates}
    assert {*words.objects} <= {*vocabulary.objects}
    states = {*vocabulary.predicate_groups.get("state", ())}
    for predicate, forms in words.predicates.items():
        assert {"is", "had"} <= {*forms} <= {"is", "then", "had", "unless"}
        assert forms.get("unless") in {None, *vocabulary.predicates} - {predicate}
        for key in {*forms} - {"unless"}:
            assert forms[key].startswith("had ") == (key == "had")
            has_object = key == "had" or predicate not in states
            assert forms[key].format(it="the box").count("the box") == has_object
    for row in words.objects.values():
        assert row.get("part_of", "person") in vocabulary.objects


def test_names_without_words_are_used_as_they_are() -> None:
    words = load_wording("action_genome")
    assert words.clause("reaching", "is", "the box") == "has the relation “reaching” to the box"
    assert "still been “moving”" in words.clause("moving", "had", "the box")
    assert words.object("bowl", is_other=True) == "another bowl"
    assert words.object("clothes", is_other=True) == "other clothes"


def test_words_are_those_of_the_vocabulary() -> None:
    ours, theirs = load_wording("action_genome"), load_wording("cad120")
    assert ours.clause("open", "is", "the box") == "has the relation “open” to the box"
    assert theirs.clause("open", "is", "the box") == "is open"
    assert (ours.whole("hand"), theirs.whole("hand"), theirs.whole("cup")) == (
        "hand",
        "person",
        "cup",
    )
    assert load_wording("a vocabulary without a file") == ours


def test_person_holds_what_one_hand_holds() -> None:
    words = load_wording("cad120")
    said = ["holding", "not_holding", "apart"]
    assert words.true_of_person(said) == ("holding", "apart")
    assert words.true_of_person(["not_holding", "apart"]) == ("not_holding", "apart")


def test_wording_of_own_names_is_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wording, "WORDING", tmp_path)
    load = load_wording.__wrapped__
    own = tmp_path / "own.yaml"
    own.write_text(
        "objects: {no: {name: cup}, keys: {plural: true}}\n"
        'predicates: {on: {is: "stands on {it}"}}\n'
    )
    words = load("own")
    assert words.object("no") == "the cup"
    assert (words.pronoun("keys"), words.pronoun("no")) == ("them", "it")
    assert words.clause("on", "is", "the table") == "stands on the table"
    own.write_text("predicates: {on: {then: x}}")
    with pytest.raises(UsageError, match=r"own\.yaml: predicates\.on: a mapping with the key `is`"):
        load("own")
    own.write_text("verbs: {}")
    with pytest.raises(UsageError, match="mappings `objects` and `predicates` expected"):
        load("own")
