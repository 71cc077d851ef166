import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from pipeline.annotations import read_annotations
from pipeline.decoding import open_video
from pipeline.errors import UsageError
from pipeline.vocabulary import load_vocabulary
from tools import synthesize
from tools.world.render import render
from tools.world.rules import load_rules
from tools.world.script import write_script

RULES = load_rules()


def build(out: Path, seed: int, train: int = 2, test: int = 1) -> Path:
    words = ["--out", str(out), "--train", str(train), "--test", str(test), "--seed", str(seed)]
    assert synthesize.main(words) == 0
    return out


def digests(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((folder / "annotations").iterdir())
    }


def pixels(folder: Path) -> list[str]:
    found = []
    for path in sorted((folder / "videos").iterdir()):
        frames = open_video(path).read([0, 20, 60]).frames
        found.append(hashlib.sha256(frames.numpy().tobytes()).hexdigest())
    return found


def test_a_seed_is_a_world(tmp_path: Path) -> None:
    one, two, other = build(tmp_path / "a", 3), build(tmp_path / "b", 3), build(tmp_path / "c", 4)
    assert digests(one) == digests(two)
    assert pixels(one) == pixels(two)
    assert not set(pixels(one)) & set(pixels(other))
    assert digests(one)["person_bbox.pkl"] != digests(other)["person_bbox.pkl"]
    assert {p.name for p in one.iterdir()} == {"videos", "annotations"}
    assert all(path.is_file() for path in (one / "videos").iterdir())


def test_what_is_annotated_is_what_is_seen(tmp_path: Path) -> None:
    world = build(tmp_path / "w", 1, train=3, test=2)
    vocabulary = load_vocabulary("action_genome")
    read = read_annotations([world / "annotations"], vocabulary)
    assert not read.errors
    assert [name for _, name in read.classes] == [action.name for action in RULES.actions]
    for split, num in (("train", 3), ("test", 2)):
        for index in range(num):
            script = write_script(RULES, 1, split, index)
            video = read.videos[script.video_id]
            assert (video.split, video.subject) == (split, script.subject)
            assert video.actions is not None
            for (ours, a, b), (theirs, c, d) in zip(
                script.actions(RULES), video.actions, strict=True
            ):
                assert ours == theirs
                assert (a, b) == pytest.approx((c, d), abs=0.006)
            reader = open_video(world / "videos" / f"{video.video_id}.mp4", numbering="dump")
            assert reader.num_frames == script.num_frames
            for annotated in video.frames[::9]:
                index = annotated.frame_index
                drawn = render(script, index / script.fps)
                seen = reader.read([index]).frames[0].permute(1, 2, 0).numpy()
                assert np.abs(seen.astype(int) - drawn.image.astype(int)).mean() < 6
                np.testing.assert_allclose(annotated.boxes[0], drawn.person, atol=1e-3)
                boxes = [box for box in drawn.objects if box is not None]
                np.testing.assert_allclose(annotated.boxes[1:], boxes, atol=1e-3)
                for row, thread in enumerate(script.threads):
                    if drawn.objects[row] is None:
                        continue
                    place = [t for t in range(row) if drawn.objects[t] is not None]
                    said = annotated.predicates[1 + len(place)].nonzero()[:, 0].tolist()
                    names = {vocabulary.predicates[r] for r in said}
                    state = RULES.states[thread.state_at(index / script.fps)]
                    assert names == {name for group in state.values() for name in group}


def test_actions_are_where_states_change() -> None:
    for index in range(40):
        script = write_script(RULES, 0, "train", index)
        for action, start, end in script.actions(RULES):
            rule = RULES.actions[action]
            thread = next(t for t in script.threads if t.rule.name == rule.object)
            assert 0 <= start < end <= script.length_s
            if rule.during:
                assert thread.state_at((start + end) / 2) == rule.during
            else:
                assert thread.state_at(start - 1e-6) == rule.source
                assert thread.state_at(end) == rule.target


def test_all_actions_occur_and_test_actors_are_new() -> None:
    scripts = {s: [write_script(RULES, 0, s, i) for i in range(80)] for s in ("train", "test")}
    seen = Counter(action for s in scripts["train"] for action, _, _ in s.actions(RULES))
    assert seen.keys() == set(range(len(RULES.actions)))
    actors = [{s.subject for s in of_split} for of_split in scripts.values()]
    assert not actors[0] & actors[1]
    assert len({s.video_id for of_split in scripts.values() for s in of_split}) == 160


@pytest.mark.parametrize(
    "words",
    [
        ["--train", "-1"],
        ["--train", "0", "--test", "0"],
        ["--seed", "x"],
        ["key=value"],
    ],
)
def test_bad_words_are_refused(tmp_path: Path, words: list[str]) -> None:
    with pytest.raises(UsageError):
        synthesize.main(["--out", str(tmp_path / "w"), *words])
    assert not (tmp_path / "w").exists()


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(json.dumps({}))
    with pytest.raises(UsageError, match="new or empty"):
        build(tmp_path, 0)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.json"]
