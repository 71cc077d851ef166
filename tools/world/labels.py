"""Actions of a script, each with the relations that cause it."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, product

from tools.world.rules import ActionRule, Condition, Rules
from tools.world.script import Script, Thread

_LEAST_S = 0.3


@dataclass(frozen=True)
class Action:
    """Instance of an action class with its cause.

    The cause is a change of relations or a lasting relation.

    Attributes:
        id: class id.
        start_s, end_s: seconds from the start of the video.
        thread: row in `Script.threads` of the object whose relations are the cause.
        second: row of a second object whose relations are also required, or None.
        before, after: names of the states before and after the change; of the first and last state
            for a lasting relation.
        moment_s: midpoint of the change in seconds; None for a lasting relation.
        condition: the condition of the action's rule that is met.
    """

    id: str
    start_s: float
    end_s: float
    thread: int
    second: int | None
    before: str
    after: str
    moment_s: float | None
    condition: Condition


def find_actions(rules: Rules, script: Script, classes: tuple[str, ...] = ()) -> list[Action]:
    """Return all actions of a script, sorted by class id and start.

    Args:
        rules: contents of configs/world/.
        script: the script.
        classes: ids of the classes to return, or empty for all classes.
    """
    found: dict[tuple[str, float, float], Action] = {}
    for rule in rules.actions:
        if not classes or rule.id in classes:
            for action in _instances(rules, script, rule):
                found.setdefault((action.id, action.start_s, action.end_s), action)
    return [found[key] for key in sorted(found)]


def story_classes(rules: Rules, steps: list[dict[str, str]]) -> set[str]:
    """Return the ids of the action classes that a sequence of steps causes.

    Args:
        rules: contents of configs/world/.
        steps: one dict per step, from object class to state name.
    """
    found = set()
    for rule in rules.actions:
        for condition in rule.when:
            for name in {n for n in steps[0] if not condition.of or n in condition.of}:
                states = [rules.states[step[name]] for step in steps]
                width = 2 if condition.is_change() else 1
                for i in range(len(steps) - width + 1):
                    near = states[i : i + width]
                    held = (
                        condition.matches(*near) if width == 2 else condition.during <= near[0].says
                    )
                    if held and _accompanied(rules, condition, name, steps[i : i + width]):
                        found.add(rule.id)
    return found


def _accompanied(
    rules: Rules, condition: Condition, name: str, steps: list[dict[str, str]]
) -> bool:
    return all(
        other in step and other != name and said <= rules.states[step[other]].says
        for other, said in condition.also.items()
        for step in steps
    )


def _instances(rules: Rules, script: Script, rule: ActionRule) -> Iterator[Action]:
    for condition, (row, thread) in product(rule.when, enumerate(script.threads)):
        if condition.of and thread.object not in condition.of:
            continue
        second = _second(script, thread, condition)
        if condition.also and second is None:
            continue
        find = _changes if condition.is_change() else _lasting
        yield from find(rules, script, rule.id, condition, row, second)


def _second(script: Script, thread: Thread, condition: Condition) -> int | None:
    for row, other in enumerate(script.threads):
        if other.object in condition.also and other.unit == thread.unit and other != thread:
            return row
    return None


def _changes(
    rules: Rules, script: Script, name: str, condition: Condition, row: int, second: int | None
) -> Iterator[Action]:
    thread = script.threads[row]
    spans = [(rules.states[s], start, end) for s, start, end in thread.spans(script.length_s)]
    for (before, start, moment), (after, _, end) in pairwise(spans):
        if not condition.matches(before, after):
            continue
        reach = min(script.change_s, moment - start, end - moment)
        sides = (moment - reach / 2, moment + reach / 2)
        if second is not None and not _holds(rules, script.threads[second], condition, sides):
            continue
        extent = max(moment - reach, 0.0), min(moment + reach, script.length_s)
        yield Action(name, *extent, row, second, before.name, after.name, moment, condition)


def _lasting(
    rules: Rules, script: Script, name: str, condition: Condition, row: int, second: int | None
) -> Iterator[Action]:
    open_since: tuple[str, float] | None = None
    spans = script.threads[row].spans(script.length_s)
    for i, (state, start, end) in enumerate(spans):
        holds = condition.during <= rules.states[state].says
        if holds and second is not None:
            held = _held_span(rules, script, second, condition, start, end)
            if held is not None:
                yield Action(name, *held, row, second, state, state, None, condition)
            continue
        if holds and open_since is None:
            open_since = (state, start)
        last = i + 1 == len(spans) or not condition.during <= rules.states[spans[i + 1][0]].says
        if holds and last and open_since is not None:
            first, since = open_since
            yield Action(name, since, end, row, second, first, state, None, condition)
            open_since = None


def _held_span(
    rules: Rules, script: Script, second: int, condition: Condition, start: float, end: float
) -> tuple[float, float] | None:
    """Return the part of a span in which the second object meets its condition, or None."""
    thread = script.threads[second]
    said = condition.also[thread.object]
    parts = [
        (max(a, start), min(b, end))
        for state, a, b in thread.spans(script.length_s)
        if said <= rules.states[state].says
    ]
    parts = [(a, b) for a, b in parts if b - a >= _LEAST_S]
    return (parts[0][0], parts[-1][1]) if parts else None


def _holds(rules: Rules, thread: Thread, condition: Condition, times: tuple[float, float]) -> bool:
    said = condition.also[thread.object]
    return all(said <= rules.states[thread.state_at(t)].says for t in times)
