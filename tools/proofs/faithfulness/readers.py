"""Reasons of other rules, with which the reasons of the network are compared."""

import random
from itertools import pairwise

from pipeline.explanation.explained_clip import ExplainedClip
from pipeline.explanation.observations import Token, Transition
from pipeline.explanation.predictions import NOTHING, Statement
from tools.world.rules import Condition, Rules
from tools.world.true_relations import Truth


def random_transition(clip: ExplainedClip, seed: str) -> Statement:
    """Return a random transition of the video as a reason."""
    if not clip.transitions:
        return NOTHING
    return _as_change(random.Random(seed).choice(clip.transitions))


def best_contribution(clip: ExplainedClip, action: int) -> Statement:
    """Return the transition, or else the token, with the largest leave-one-out contribution.

    The sentences of earlier versions stated this as the reason.
    """
    support = clip.support[action]
    if support.transitions:
        return _as_change(clip.transitions[support.transitions[0].transition])
    tokens = [part.token for part in support.evidence if part.contribution > 0]
    if not tokens:
        return NOTHING
    row = clip.tokens.rows[tokens[0]]
    said = [name.predicate for name in row.names if name.predicate is not None]
    return _lasting(row, said[-1] if said else None)


def annotation_reader(clip: ExplainedClip, truth: Truth, rules: Rules, class_id: str) -> Statement:
    """Return the first reason that the rules of a class find in the true relations of the tokens.

    It knows the rules, except for second objects, and the relations. It thus shows what the sampled
    frames contain.
    """
    rule = next(rule for rule in rules.actions if rule.id == class_id)
    words = [{w for w, true in zip(clip.tokens.words, row, strict=True) if true}
             for row in truth.predicates.tolist()]  # fmt: skip
    threads: dict[int, list[int]] = {}
    for token, thread in enumerate(truth.threads.tolist()):
        if thread >= 0:
            threads.setdefault(thread, []).append(token)
    for condition in rule.when:
        for tokens in threads.values():
            name = clip.tokens.rows[tokens[0]].object.class_
            if not condition.of or name in condition.of:
                found = _read(condition, clip, tokens, words)
                if found is not None:
                    return found
    return NOTHING


def _read(
    condition: Condition, clip: ExplainedClip, tokens: list[int], words: list[set[str]]
) -> Statement | None:
    rows = clip.tokens.rows
    if not condition.is_change():
        held = [token for token in tokens if condition.during <= words[token]]
        return _lasting(rows[held[0]], min(condition.during)) if held else None
    for first, second in pairwise(tokens):
        if condition.before <= words[first] and condition.after <= words[second]:
            for group in reversed(clip.tokens.groups.values()):
                before, after = condition.before & {*group}, condition.after & {*group}
                if before and after:
                    return Statement(
                        kind="change",
                        object=rows[first].object.class_,
                        track=rows[first].track,
                        group=None,
                        from_=min(before, key=lambda word: (word in after, word)),
                        to=min(after, key=lambda word: (word in before, word)),
                        between_s=(rows[first].time_s, rows[second].time_s),
                    )
    return None


def _as_change(row: Transition) -> Statement:
    ends = row.from_, row.to
    return Statement("change", row.object, row.track, row.group, *ends, row.between_s)


def _lasting(row: Token, predicate: str | None) -> Statement:
    times = row.time_s, row.time_s
    return Statement("lasting", row.object.class_, row.track, None, None, predicate, times)
