import json
from collections import Counter
from dataclasses import replace

import jsonschema
import pytest

from pipeline.datasets.vocabulary import load_vocabulary
from pipeline.errors import FailureReason, ItemError, UsageError
from pipeline.explanation.edits import Edit, parse_edit
from pipeline.explanation.explanation import Explanation
from pipeline.explanation.wording import load_wording
from tests.pipeline.explanation.test_explanation import SCHEMA, random_explanation

VOCABULARY = load_vocabulary("action_genome")


def parsed(text: str) -> Edit:
    words = load_wording("action_genome")
    return parse_edit(text, VOCABULARY.objects, VOCABULARY.predicate_groups, words)


def test_edits_are_parsed_and_written() -> None:
    edit = parsed(" 1.2-3.4 cup holding=>not_contacting ")
    cup = "cup/glass/bottle"
    assert edit == Edit((1.2, 3.4), cup, "contacting", "holding", "not_contacting")
    assert edit.text == f"1.2-3.4 {cup} holding=>not_contacting"
    assert parsed(edit.text) == edit
    assert parsed("0 - 10 closet/cabinet not contacting => touching") == Edit(
        (0, 10), "closet/cabinet", "contacting", "not_contacting", "touching"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cup holding=>touching", "START-END OBJECT PREDICATE=>PREDICATE expected"),
        ("1.2-3.4 cup holding", "START-END OBJECT PREDICATE=>PREDICATE expected"),
        ("nan-3 cup holding=>touching", "START-END OBJECT PREDICATE=>PREDICATE expected"),
        ("-1-3 cup holding=>touching", "START-END OBJECT PREDICATE=>PREDICATE expected"),
        ("3-2 cup holding=>touching", "a start before the end expected"),
        ("1-2 cub holding=>touching", "one of the objects bag, bed, .* expected"),
        ("1-2 person holding=>touching", "one of the objects bag, bed, .* expected"),
        ("1-2 cup hodling=>touching", "one of the predicates looking_at, .* got 'hodling'"),
        ("1-2 cup holding=>tuching", "one of the predicates looking_at, .* got 'tuching'"),
        ("1-2 cup holding=>behind", r"holding \(contacting\) and behind \(spatial\)"),
        ("1-2 cup holding=>holding", "two predicates of one group expected"),
    ],
)
def test_wrong_edits_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parsed(text)


def some_edit(explanation: Explanation) -> tuple[Edit, list[int]]:
    """Return an edit of kept tokens, none of which has the other predicate, and its tokens."""
    rows = [
        (token, name.group, {*name.predicates})
        for token in explanation.tokens
        for name in token.names
    ]
    names = Counter(
        (token.object.class_, group, word)
        for token, group, said in rows
        for word in said
        if token.keep
    )
    for (object_, group, word), _ in names.most_common():
        mine = [row for row in rows if row[0].object.class_ == object_ and word in row[2]]
        said = set[str]().union(*(words for _, _, words in mine))
        others = [name for name in VOCABULARY.predicate_groups[group] if name not in said]
        if others:
            times = [token.time_s for token, _, _ in mine]
            edit = Edit((min(times), max(times)), object_, group, word, others[0])
            return edit, [token.id for token, _, _ in mine]
    raise AssertionError("no predicate can be replaced")


def plain(sentence: str) -> str:
    """Return a sentence without the marks of uncertain names."""
    return sentence.replace(" (?)", "")


def test_an_edit_changes_the_named_tokens_and_the_scores() -> None:
    explanation = random_explanation([4] * 6, seed=1)
    edit, tokens = some_edit(explanation)
    changed = explanation.what_if(edit.text)
    assert changed.edited is not None
    assert changed.edited.edits == (edit,)
    assert [*changed.edited.tokens] == tokens
    rows = changed.edited.predictions[: len(explanation.predictions)]
    for row, prediction in zip(rows, explanation.predictions, strict=True):
        assert (row.class_id, row.window) == (prediction.class_id, prediction.window)
        assert row.score_before == prediction.score
        assert row.sentence_before == prediction.sentence
    assert max(abs(row.score - row.score_before) for row in rows) > 1e-4
    for row in changed.edited.predictions[len(rows) :]:
        assert row.score_before < 0.5 <= row.score
    assert changed.predictions == explanation.predictions
    assert changed.fingerprint != explanation.fingerprint
    tree = json.loads(json.dumps(changed.to_dict(), allow_nan=False))
    jsonschema.validate(tree, SCHEMA)
    assert Explanation.from_dict(tree) == changed


def test_an_edit_and_its_reverse_leave_the_scores() -> None:
    explanation = random_explanation([4] * 6, seed=1)
    edit, _ = some_edit(explanation)
    back = Edit(edit.between_s, edit.object, edit.group, edit.to, edit.from_)
    changed = explanation.what_if(edit, back).edited
    assert changed is not None
    assert changed.edits == (edit, back)
    scores = [(row.score, row.score_before) for row in changed.predictions]
    assert all(score == pytest.approx(before, abs=1e-5) for score, before in scores)
    assert all(plain(row.sentence) == plain(row.sentence_before) for row in changed.predictions)
    assert explanation.what_if() == explanation
    assert explanation.what_if(edit).what_if(back) == explanation.what_if(edit, back)


def test_times_of_an_edit_are_read_to_a_hundredth_of_a_second() -> None:
    explanation = random_explanation([4] * 6, seed=1)
    edit, tokens = some_edit(explanation)
    time = explanation.tokens[tokens[0]].time_s
    mine = [i for i in tokens if explanation.tokens[i].time_s == time]
    for shift in (-0.004, 0.004):
        around = replace(edit, between_s=(time + shift, time + shift))
        changed = explanation.what_if(around).edited
        assert changed is not None
        assert [*changed.tokens] == mine
    assert parsed(".5-2 cup holding=>touching").between_s == (0.5, 2.0)


def test_edits_reach_only_their_window() -> None:
    explanation = random_explanation([3] * 12, seed=3, size=4)
    windows = {row.window for row in explanation.predictions}
    assert len(windows) > 1
    edit, _ = some_edit(explanation)
    changed = explanation.what_if(edit).edited
    assert changed is not None
    frames = explanation.sampling.frames
    reached = {frames[explanation.tokens[token].t].window for token in changed.tokens}
    for row in changed.predictions:
        if row.window not in reached:
            assert row.score == pytest.approx(row.score_before, abs=1e-6)
        for token in row.reason.tokens:
            assert frames[explanation.tokens[token].t].window == row.window


def test_an_edit_without_tokens_lists_what_there_is() -> None:
    explanation = random_explanation([4] * 6, seed=1)
    edit, _ = some_edit(explanation)
    absent = next(
        name
        for name in VOCABULARY.objects[1:]
        if all(token.object.class_ != name for token in explanation.tokens)
    )
    for wrong, there in (
        (Edit((900.0, 901.0), edit.object, edit.group, edit.from_, edit.to), edit.from_),
        (Edit(edit.between_s, absent, edit.group, edit.from_, edit.to), edit.object),
    ):
        with pytest.raises(ItemError, match=there) as caught:
            explanation.what_if(wrong)
        assert caught.value.reason is FailureReason.NO_SUCH_RELATION


def test_explanations_from_files_cannot_be_edited() -> None:
    explanation = Explanation.from_dict(random_explanation([2] * 3).to_dict())
    with pytest.raises(ValueError, match=r"an explanation of LaIARPredictor\.predict expected"):
        explanation.what_if("1-2 cup holding=>touching")
