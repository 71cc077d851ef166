import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.datasets.cad120.knowledge import Knowledge, Rule, read_knowledge
from pipeline.errors import UsageError
from tests.pipeline.datasets.cad120.release_maker import small_knowledge, write_knowledge


def test_knowledge_is_read_in_the_order_of_the_files(tmp_path: Path) -> None:
    found = small_knowledge(tmp_path)
    assert found == Knowledge(
        actions=("null", "open", "pick", "drink"),
        objects=("hand", "head", "cup", "medicine-box"),
        attributes=("closed", "open"),
        relations=("holding", "not_holding", "contacting", "apart"),
        object_attributes={"medicine-box": (0, 1)},
        object_relations={
            ("hand", "cup"): (0, 1),
            ("hand", "medicine-box"): (0, 1),
            ("head", "cup"): (2, 3),
        },
        rules=(
            Rule(1, None, 0, 1, frozenset({"medicine-box"})),
            Rule(2, "hand", 1, 0, frozenset({"cup", "medicine-box"})),
            Rule(3, "head", 3, 2, frozenset({"cup"})),
        ),
    )


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("action_list", "open\npick\ndrink\n", "action_list.txt: the action null expected"),
        ("action_list", "null\nopen\nnull\n", r"action_list.txt:3: one name per line .*'null'"),
        ("object_list", "hand\ncup, head\n", r"object_list.txt:2: one name per line .*'cup, head'"),
        ("relation_list", "\n", "relation_list.txt: at least one line expected"),
        ("object_attribute_list", "cup; closed; open", "list.txt:1: 2 fields separated by ';'"),
        ("object_attribute_list", "\ncup; ajar", r"list.txt:2: names of attribute_list.txt .*ajar"),
        ("object_relation_list", "hand; holding; cup", "list.txt:1: 4 fields separated by ';'"),
        (
            "object_relation_list",
            "hand, head; holding; apart; cup",
            "list.txt:1: one name expected in field 1, got 2 names",
        ),
        (
            "object_relation_list",
            "hand; holding; apart; cup, spoon",
            r"names of object_list.txt expected in field 4, got 'spoon'",
        ),
        ("act_attr_list", "open; closed; open", "act_attr_list.txt:1: 4 fields separated by ';'"),
        (
            "act_attr_list",
            "open; holding; open; cup",
            r"names of attribute_list.txt expected in field 2, got 'holding'",
        ),
        (
            "act_rel_list",
            "grab; apart; holding; hand; cup",
            r"names of action_list.txt expected in field 1, got 'grab'",
        ),
        ("act_rel_list", "pick; apart; holding; hand", "list.txt:1: 5 fields separated by ';'"),
    ],
)
def test_malformed_files_are_rejected(tmp_path: Path, file: str, text: str, message: str) -> None:
    folder = write_knowledge(tmp_path, **{file: text})
    with pytest.raises(UsageError, match=message):
        read_knowledge(folder)


def test_missing_file_is_rejected(tmp_path: Path) -> None:
    (write_knowledge(tmp_path) / "act_rel_list.txt").unlink()
    with pytest.raises(UsageError, match=r"file not found: .*act_rel_list\.txt"):
        read_knowledge(tmp_path)


RULES = (
    Rule(1, None, 0, 1, frozenset({"box"})),
    Rule(2, None, 1, 0, frozenset({"box", "cup"})),
    Rule(3, "hand", 0, 1, frozenset({"cup"})),
    Rule(4, "head", 0, 1, frozenset({"cup"})),
    Rule(5, "hand", 2, 1, frozenset({"cup", "box"})),
)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(0, 2), max_size=8),
    st.sampled_from(["box", "cup"]),
    st.sampled_from([None, "hand", "head"]),
)
def test_rule_actions_equal_those_of_plain_loops(
    states: list[int], object_class: str, subject_class: str | None
) -> None:
    expected = []
    for i in range(1, len(states)):
        for rule in RULES:
            if states[i - 1] == states[i] or rule.subject != subject_class:
                continue
            for name in rule.objects:
                if name == object_class and [rule.before, rule.after] == states[i - 1 : i + 1]:
                    expected.append(rule.action)
    knowledge = Knowledge((), (), (), (), {}, {}, RULES)
    assert knowledge.rule_actions(states, object_class, subject_class) == set(expected)


@pytest.mark.parametrize("states", list(itertools.product([0, 1], repeat=3)))
def test_repeated_states_imply_no_further_action(states: tuple[int, ...]) -> None:
    knowledge = Knowledge((), (), (), (), {}, {}, RULES)
    doubled = [state for state in states for _ in range(3)]
    assert knowledge.rule_actions(doubled, "box") == knowledge.rule_actions(states, "box")
