from pathlib import Path

import pytest

from pipeline.datasets import vocabulary
from pipeline.datasets.vocabulary import Vocabulary, load_vocabulary
from pipeline.errors import UsageError

OBJECTS = "objects: [person, cup]\n"
GOOD = f"{OBJECTS}predicates: {{a: [on]}}\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(vocabulary, "VOCABULARY_FOLDER", tmp_path)
    return tmp_path


def load(folder: Path, text: str | bytes) -> Vocabulary:
    (folder / "own.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
    return load_vocabulary("own")


def test_names_are_text(folder: Path) -> None:
    text = "objects: [person, 7, null, 1.50, yes, 2024-01-01]\npredicates: {on: [on, no], n: [~x]}"
    found = load(folder, text)
    assert found.objects == ("person", "7", "null", "1.50", "yes", "2024-01-01")
    assert found.predicate_groups == {"on": ("on", "no"), "n": ("~x",)}
    assert found.predicate_index("NO") == 1


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_file_with_a_byte_order_mark_is_read(folder: Path, encoding: str) -> None:
    found = load(folder, f"{OBJECTS}predicates: {{a: [hält]}}".encode(encoding))
    assert found.predicates == ("hält",)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", r"own\.yaml: a mapping with the keys objects and predicates expected"),
        ("[a]", "keys objects and predicates expected, got list"),
        (OBJECTS, "keys objects and predicates expected, got the keys objects"),
        (f"{OBJECTS}predicates: [on]", "predicates: a mapping from group names"),
        (f"{OBJECTS}predicates: {{a: on}}", r"predicates\.a: a list of names expected, got 'on'"),
        (f"{OBJECTS}predicates: {{a: }}", r"predicates\.a: a list of names expected"),
        (f"{OBJECTS}predicates: {{a: [x: y]}}", r"predicates\.a: a name .*\{'x': 'y'\}"),
        (f"{OBJECTS}predicates:\n  a:\n  - on\n  -\n", r"predicates\.a: a name .* got '' as entry"),
        ("objects: [cup]\npredicates: {a: [on]}", "'person' expected first"),
        (f"{OBJECTS}predicates: {{a: [on], b: ['On']}}", "unique names expected, got 'on' twice"),
        (f"{OBJECTS}predicates: {{a: [on], a: [no]}}", r"own\.yaml:2: .*unique keys .*got 'a'"),
        (f"{OBJECTS}predicates: {{a: [on]", r"own\.yaml:2: valid YAML expected"),
        (f"{GOOD}pairs: [a]", "pairs: kinds with the keys subject .optional. and objects"),
        (f"{GOOD}pairs: {{a: {{subject: person}}}}", "pairs: kinds .* got 'a'"),
        (f"{GOOD}pairs: {{a: {{subject: [x], objects: [cup]}}}}", r"pairs\.a\.subject: a name"),
        (f"{GOOD}pairs: {{a: {{objects: [cow]}}}}", "one of person, cup expected, got 'cow'"),
        (f"{GOOD}pairs: {{a: {{subject: cow, objects: [cup]}}}}", "got 'cow'"),
        (f"{GOOD}pairs: {{a: {{objects: [cup], groups: [b]}}}}", "one of a expected, got 'b'"),
        (
            f"{GOOD}pairs: {{a: {{objects: [cup], groups: a}}}}",
            r"pairs\.a\.groups: a list of names",
        ),
        (f"{GOOD}exclusive: [b]", "groups of predicates: one of a expected, got 'b'"),
        (f"{GOOD}exclusive: a", "exclusive: a list of names expected"),
        (f"{GOOD}aliases: [cup]", "aliases: a mapping from object classes"),
        (f"{GOOD}aliases: {{cow: [bull]}}", "one of person, cup expected, got 'cow'"),
        (b"objects: [\xff]", r"own\.yaml: valid YAML expected"),
    ],
)
def test_invalid_file_is_rejected_with_its_name(folder: Path, text: str, says: str) -> None:
    with pytest.raises(UsageError, match=f"(?s){says}"):
        load(folder, text)


def test_kinds_of_pairs_are_chosen_by_name(folder: Path) -> None:
    kinds = "pairs: {hold: {subject: person, objects: [cup]}, state: {objects: [cup, person]}}"
    found = load(folder, f"{GOOD}{kinds}")
    assert found.chosen_pairs([]) == ("hold",)
    assert found.chosen_pairs(["state", "hold"]) == ("state", "hold")
    assert found.pair_classes(["state", "hold"]) == [(None, frozenset({0, 1})), (0, frozenset({1}))]
    assert load(folder, GOOD).chosen_pairs([]) == ()
    for names in (["cow"], ["hold", "hold"]):
        with pytest.raises(UsageError, match=r"pairs: different kinds .* has hold, state; got"):
            found.chosen_pairs(names)
    with pytest.raises(UsageError, match="has no kinds"):
        load(folder, GOOD).chosen_pairs(["hold"])


def test_groups_of_pairs_and_exclusive_groups_are_read(folder: Path) -> None:
    groups = f"{OBJECTS}predicates: {{attention: [at], b: [on, off]}}\n"
    kinds = "pairs: {hold: {subject: person, objects: [cup], groups: [b]}, all: {objects: [cup]}}"
    found = load(folder, f"{groups}{kinds}")
    assert found.pair_groups(["all", "hold"]) == (
        (None, (1,), ("attention", "b")),
        (0, (1,), ("b",)),
    )
    assert found.exclusive == ("attention",)
    assert load(folder, GOOD).exclusive == ()
    assert load(folder, f"{groups}exclusive: [b]").exclusive == ("b",)
