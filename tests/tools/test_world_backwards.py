"""Tests that a reversed story has the same states in reverse order.

No single frame can therefore distinguish inverse classes.
"""

from dataclasses import replace

import numpy as np
import pytest

from tools.world.labels import find_actions
from tools.world.plot import write_script
from tools.world.rules import load_rules
from tools.world.script import Script, Settings, Thread, Unit
from tools.world.staging import Stage

RULES = load_rules()
#: Rules without swinging hands, because the swing is not symmetric in time.
STILL = replace(
    RULES,
    states={name: replace(s, sway=(0.0, 0.0, 1.0)) for name, s in RULES.states.items()},
)

#: Tolerance in metres, which is an eighth of a pixel.
CLOSE = 1e-3


def backwards(script: Script) -> Script:
    length = script.length_s
    num = len(script.units)

    def thread(t: Thread) -> Thread:
        changes = tuple(length - c for c in t.changes[::-1])
        return replace(t, states=t.states[::-1], changes=changes, unit=num - 1 - t.unit)

    def unit(u: Unit) -> Unit:
        return replace(u, start_s=length - u.end_s, end_s=length - u.start_s)

    return replace(
        script,
        units=tuple(unit(u) for u in script.units[::-1]),
        threads=tuple(thread(t) for t in script.threads),
    )


def drawn(index: int) -> Script:
    script = write_script(RULES, Settings(), "train", index)
    return replace(script, actor=replace(script.actor, sway=0.0))


ONE_WAY = {story.name for story in RULES.stories if story.is_one_way} | {"stand"}
SCRIPTS = [s for s in map(drawn, range(60)) if not ONE_WAY & {u.story for u in s.units}]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda s: s.video_id)
def test_reversed_script_has_the_same_states_in_reverse(script: Script) -> None:
    there, back = Stage(STILL, script), Stage(STILL, backwards(script))
    for share in np.linspace(0.03, 0.97, 19):
        time_s = float(share) * script.length_s
        one, two = there.at(time_s), back.at(script.length_s - time_s)
        for a, b in zip(one.objects, two.objects, strict=True):
            np.testing.assert_allclose(a.centre, b.centre, atol=CLOSE)
            assert a.layer == b.layer
            assert (a.angle, a.openness, a.grow) == pytest.approx(
                (b.angle, b.openness, b.grow), abs=CLOSE
            )
        np.testing.assert_allclose(np.array(one.arms), np.array(two.arms), atol=CLOSE)
        np.testing.assert_allclose(one.bones.head, two.bones.head, atol=CLOSE)
        np.testing.assert_allclose(np.array(one.bones.knees), np.array(two.bones.knees), atol=CLOSE)
        gazes = [(s.stance.body_yaw, s.stance.head_yaw, s.stance.eyes) for s in (one, two)]
        assert gazes[0] == pytest.approx(gazes[1], abs=CLOSE)


def test_reversed_script_swaps_inverse_classes() -> None:
    swap = {a: b for pair in RULES.inverse_pairs for a, b in (pair, pair[::-1])}
    seen = 0
    for script in SCRIPTS:
        if "throw" in {unit.story for unit in script.units}:
            continue  # a reversed throw takes objects from the floor
        told = {a.id for a in find_actions(RULES, script)} & swap.keys()
        read = {a.id for a in find_actions(RULES, backwards(script))} & swap.keys()
        assert {swap[name] for name in told} == read
        seen += len(told)
    assert seen > 30
