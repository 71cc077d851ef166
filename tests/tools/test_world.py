from collections import Counter

import numpy as np
import pytest

from tools.world.cast import NUM_TEST, NUM_TRAIN, actor
from tools.world.film import annotated_ordinals, frame_ticks
from tools.world.labels import find_actions
from tools.world.plot import write_script
from tools.world.record import VERSION, cause_of
from tools.world.render import Renderer
from tools.world.rules import Rules, load_rules
from tools.world.script import Script, Settings, Thread

RULES: Rules = load_rules()
SCRIPTS = [write_script(RULES, Settings(), "train", i) for i in range(320)]


def classes_of(script: Script) -> set[str]:
    return {action.id for action in find_actions(RULES, script)}


def said_in(scripts: list[Script]) -> set[str]:
    states = {s for script in scripts for t in script.threads for s in t.states}
    return set().union(*(RULES.states[s].says for s in states))


def test_rules_have_the_required_sizes() -> None:
    assert len(RULES.actions) >= 60
    assert len(RULES.inverse_pairs) >= 12
    assert len(RULES.objects) == 35
    assert len(RULES.scenes) == 16
    assert len({actor(i) for i in range(NUM_TRAIN + NUM_TEST)}) == NUM_TRAIN + NUM_TEST >= 24


def test_few_videos_cover_most_content_and_320_videos_cover_all() -> None:
    few = SCRIPTS[:32]
    assert len(set().union(*(classes_of(s) for s in few))) >= 25
    assert len(said_in(few)) >= 18
    assert said_in(SCRIPTS) == set(RULES.vocabulary.predicates)
    assert {t.object for s in SCRIPTS for t in s.threads} == set(RULES.objects)
    assert {s.scene for s in SCRIPTS} == {scene.name for scene in RULES.scenes}
    numbers = [len(classes_of(s)) for s in SCRIPTS]
    assert min(numbers) >= 2
    assert max(numbers) <= 9
    assert {s.size for s in SCRIPTS} == {(480, 270), (270, 480)}
    assert all(4 <= s.length_s <= 12 for s in SCRIPTS)
    rates = {round(s.film.rate[0] / s.film.rate[1]) for s in SCRIPTS}
    assert rates == {24, 25, 30}
    assert {s.film.timing for s in SCRIPTS} == {"constant", "dropped", "halved"}
    assert any(s.film.hidden for s in SCRIPTS)
    assert any(s.film.b_frames for s in SCRIPTS)


def test_test_split_has_other_actors_and_ids() -> None:
    others = [write_script(RULES, Settings(), "test", i) for i in range(60)]
    assert not {s.actor.id for s in SCRIPTS} & {s.actor.id for s in others}
    ids = [s.video_id for s in (*SCRIPTS, *others)]
    assert len(set(ids)) == len(ids)


def test_actions_occur_where_relations_satisfy_their_conditions() -> None:
    """Check every action against the relations before, during and after it."""
    rules = {action.id: action for action in RULES.actions}
    for script in SCRIPTS[:120]:
        for action in find_actions(RULES, script):
            assert 0 <= action.start_s < action.end_s <= script.length_s
            thread = script.threads[action.thread]

            def says(t: float, of: Thread = thread) -> frozenset[str]:
                return RULES.states[of.state_at(t)].says

            conditions = [c for c in rules[action.id].when if not c.of or thread.object in c.of]
            if action.moment_s is None:
                middle = (action.start_s + action.end_s) / 2
                assert any(c.during and c.during <= says(middle) for c in conditions)
                continue
            assert action.start_s < action.moment_s < action.end_s
            assert any(
                c.is_change()
                and c.before <= says(action.moment_s - 1e-6)
                and c.after <= says(action.moment_s)
                for c in conditions
            )


def test_both_classes_of_inverse_pairs_are_equally_frequent() -> None:
    """Over all pairs, the first class and the second class occur about equally often."""
    first, second = Counter[str](), Counter[str]()
    for script in SCRIPTS:
        found = classes_of(script)
        for a, b in RULES.inverse_pairs:
            if (a in found) != (b in found):
                (first if a in found else second)[a] += 1
    assert len(first | second) >= 12
    total = first.total() + second.total()
    assert 0.4 < first.total() / total < 0.6


def test_script_restored_from_json_gives_the_same_pixels() -> None:
    import json

    script = SCRIPTS[3]
    again = Script.from_dict(json.loads(json.dumps(script.to_dict())))
    assert again == script
    one, two = (Renderer(RULES, s).frame(1.5, annotate=True) for s in (script, again))
    np.testing.assert_array_equal(one.image, two.image)
    assert one.things == two.things
    assert VERSION >= 2


@pytest.mark.parametrize("index", range(12))
def test_frame_shows_the_person_and_the_objects(index: int) -> None:
    script = SCRIPTS[index]
    frame = Renderer(RULES, script).frame(script.length_s / 2, annotate=True)
    width, height = script.size
    assert frame.image.shape == (height, width, 3)
    seen = {thing.thread for thing in frame.things}
    assert -1 in seen  # the person
    for thing in frame.things:
        x1, y1, x2, y2 = thing.box
        assert 0 <= x1 < x2 <= width
        assert 0 <= y1 < y2 <= height
        assert 0 <= thing.visible <= 1
    assert sum(row in seen for row in range(len(script.threads))) >= len(script.threads) - 1


def test_annotated_frames_are_within_actions_and_not_hidden() -> None:
    for script in SCRIPTS[:40]:
        actions = find_actions(RULES, script)
        ticks = frame_ticks(script)
        assert ticks == sorted(set(ticks))
        for ordinal in annotated_ordinals(script, actions):
            time_s = ticks[ordinal] / script.film.rate[0]
            assert time_s >= 0
            assert any(a.start_s - 0.1 <= time_s <= a.end_s + 0.1 for a in actions)


def test_shift_makes_colours_depend_on_scenes() -> None:
    """The wall colours of a scene vary less with a stronger shift."""
    spread = []
    for shift in (0.0, 1.0):
        settings = Settings(shift=shift)
        walls: dict[str, list[tuple[int, int, int]]] = {}
        for i in range(120):
            script = write_script(RULES, settings, "train", i)
            walls.setdefault(script.scene, []).append(script.room.wall)
        spread.append(np.mean([np.std(w, axis=0).mean() for w in walls.values() if len(w) > 3]))
    assert spread[1] < 0.5 * spread[0]


def test_cause_has_only_the_predicates_of_the_rule() -> None:
    kinds = set()
    for script in SCRIPTS[:60]:
        for action in find_actions(RULES, script):
            cause = cause_of(action, script.threads[action.thread].object)
            rule = next(rule for rule in RULES.actions if rule.id == action.id)
            assert action.condition in rule.when
            before, after = (RULES.states[name].says for name in (action.before, action.after))
            assert set(cause["before"]) <= before
            assert set(cause["after"]) <= after
            assert set(cause["while"]) <= before & after or cause["kind"] == "lasting"
            is_change = cause["kind"] == "change"
            assert is_change == bool(cause["after"]) == (action.moment_s is not None)
            assert is_change != bool(cause["while"])
            assert (action.second is not None) == bool(cause["with"])
            kinds.add(cause["kind"])
    assert kinds == {"change", "lasting"}


def test_duplicates_draw_two_objects_of_one_class_and_change_nothing_else() -> None:
    def doubled(script: Script) -> bool:
        names = [thread.object for thread in script.threads]
        return len(set(names)) < len(names)

    assert not any(doubled(script) for script in SCRIPTS)
    made = [write_script(RULES, Settings(duplicates=0.3), "train", i) for i in range(100)]
    assert 0.1 < sum(map(doubled, made)) / len(made) < 0.5
    assert write_script(RULES, Settings(duplicates=0.0), "train", 3) == write_script(
        RULES, Settings(), "train", 3
    )
    script = next(filter(doubled, made))
    things = Renderer(RULES, script).frame(script.length_s / 2, annotate=True).things
    assert {thing.thread for thing in things} >= set(range(len(script.threads)))
