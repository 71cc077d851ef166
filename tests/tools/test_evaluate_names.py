"""Tests of the truth, the scores and the errors of `tools.evaluate_names`."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from detection.detections import Detections
from model.label_bank import LabelBank
from pipeline.cache.clip import CachedClip, ClipHeader, ClipSource
from pipeline.cache.folder import read_cache_info, store_clip, write_cache_info
from pipeline.decoding.scan import scan
from pipeline.errors import UsageError
from pipeline.evaluation.names import STATUSES, TokenNames, count_links, score_names
from pipeline.samples.clip_tokens import clip_tokens
from relations.graph import RelationGraph
from tests.model.batches import GROUPS, random_batch
from tests.model.test_laiar import small
from tools import evaluate_names
from tools.evaluate_names import Namer, name_tokens
from tools.world.annotated_script import cache_info
from tools.world.film import frame_ticks, write_video
from tools.world.plot import write_script
from tools.world.record import dump_numbers
from tools.world.render import Renderer
from tools.world.rules import load_rules
from tools.world.script import Script, Settings
from tools.world.true_relations import frame_times, read_scripts, true_relations

RULES = load_rules()
OBJECTS = RULES.vocabulary.objects
SETTINGS = Settings(seed=4, min_s=4, max_s=5, long_side=160, duplicates=1.0)
FRAMES = (0, 11, 40, 77)
NUM_PREDICATES = len(RULES.vocabulary.predicates)


@cache
def drawn(index: int = 0) -> Script:
    script = write_script(RULES, SETTINGS, "test", index)
    return replace(script, film=replace(script.film, timing="constant", hidden=0, rate=(25, 1)))


def seen(renderer: Renderer, time_s: float) -> dict[int, tuple[float, ...]]:
    """Boxes of the threads in a rendered frame."""
    things = renderer.frame(time_s, annotate=True).things
    return {t.thread: t.box for t in things if t.thread is not None and t.thread >= 0}


@cache
def clip_of(script: Script, frames: tuple[int, ...]) -> CachedClip:
    """Clip with the moved boxes of all threads, and each box once more with another class."""
    renderer, times = (
        Renderer(RULES, script),
        [t / script.film.rate[0] for t in frame_ticks(script)],
    )
    rng = torch.Generator().manual_seed(0)
    detections, graphs = [], []
    for frame in frames:
        found = seen(renderer, times[frame])
        right = [OBJECTS.index(script.threads[row].object) for row in found]
        boxes = torch.tensor([(0.0, 0.0, 9.0, 9.0), *found.values(), *found.values()])
        boxes[1:] += (torch.rand(len(boxes) - 1, 1, generator=rng) - 0.5) * 12
        N = len(boxes)
        detections.append(
            Detections(
                boxes=boxes,
                labels=torch.tensor([0, *right, *(1 + (i + 2) % 30 for i in right)]),
                scores=torch.ones(N),
                distribution=torch.zeros(N, len(OBJECTS)),
                features=torch.zeros(N, 0),
                image_size=(script.size[1], script.size[0]),
            )
        )
        graphs.append(
            RelationGraph(
                pairs=torch.tensor([(0, i) for i in range(1, N)]).view(-1, 2),
                union_boxes=torch.zeros(N - 1, 4),
                union_features=torch.zeros(N - 1, 0, 7, 7),
                predicates=torch.zeros(N - 1, NUM_PREDICATES),
                source="none",
            )
        )
    width, height = script.size
    header = ClipHeader(
        video_id=script.video_id,
        fingerprint="0" * 64,
        source=ClipSource(len(times), width=width, height=height, fps=25.0, edit_lists="ignored"),
        detector={"weights": "none"},
        boxes="ground-truth",
        feature_source="box",
        split="test",
        actions=(),
    )
    stamps = torch.arange(len(frames)).double()
    return CachedClip.of_frames(header, torch.tensor(frames), stamps, detections, graphs)


def iou(a: list[float], b: tuple[float, ...]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inside = max(width, 0) * max(height, 0)
    areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
    return inside / (sum(areas) - inside)


@pytest.mark.parametrize("index", range(3))
def test_boxes_without_pixels_equal_the_boxes_of_rendered_frames(index: int) -> None:
    renderer = Renderer(RULES, drawn(index))
    for time_s in (-0.2, 0.7, 3.1):
        assert renderer.thread_boxes(time_s) == seen(renderer, time_s)


@pytest.mark.parametrize(("timing", "hidden"), [("dropped", 6), ("halved", 0), ("constant", 5)])
def test_frame_times_equal_the_times_of_the_video_file(
    timing: str, hidden: int, tmp_path: Path
) -> None:
    script = drawn()
    film = replace(script.film, timing=timing, hidden=hidden, rate=(30000, 1001), b_frames=2)
    script = replace(script, film=film, length_s=1.5)
    path = tmp_path / "video.mp4"
    write_video(Renderer(RULES, script), path, set())
    ticks = [tick / film.rate[0] for tick in frame_ticks(script)]
    numbers = dump_numbers(path)

    def times(edit_lists: str, num_frames: int) -> list[float]:
        width, height = script.size
        rate = scan(path, ignore_edit_lists=True, max_pixels=10**6, max_frames=999).rate
        size = ClipSource(num_frames, width=width, height=height)
        return frame_times(script, replace(size, fps=rate, edit_lists=edit_lists))

    with pytest.raises(UsageError, match=r"has 1 frames .* its script has \d+ frames") as error:
        times("ignored", 1)
    num_frames = int(str(error.value).split("its script has ")[1].split()[0])
    found = times("ignored", num_frames)
    assert max(numbers.values()) <= num_frames
    assert {o: found[n - 1] for o, n in numbers.items()} == {o: ticks[o] for o in numbers}
    shown = scan(path, ignore_edit_lists=False, max_pixels=10**6, max_frames=999).pts_s
    assert times("applied", len(shown)) == pytest.approx(list(shown))


def test_truth_equals_a_slow_search_in_rendered_frames() -> None:
    script = drawn()
    clip = clip_of(drawn(), FRAMES)
    tokens = clip_tokens(clip, 100)
    truth = true_relations(RULES, script, clip, tokens)
    renderer = Renderer(RULES, script)
    for m, (pair, row) in enumerate(
        zip(tokens.pair_row.tolist(), tokens.frame_row.tolist(), strict=True)
    ):
        box_row = int(clip.pair_rows[pair, 1])
        name, box = OBJECTS[int(clip.labels[box_row])], clip.boxes[box_row].tolist()
        time_s = FRAMES[row] / 25
        rated = [
            (iou(box, other), thread)
            for thread, other in seen(renderer, time_s).items()
            if script.threads[thread].object == name
        ]
        best, thread = max(rated, default=(0.0, -1))
        expected = thread if best >= 0.5 else -1
        assert truth.threads[m] == expected
        says: frozenset[str] = frozenset()
        if expected >= 0:
            says = RULES.states[script.threads[expected].state_at(time_s)].says
        rows = truth.predicates[m].nonzero()[:, 0].tolist()
        assert {RULES.vocabulary.predicates[r] for r in rows} == says
    assert 0 < (truth.threads >= 0).sum() < len(truth.threads)
    assert (
        len(true_relations(RULES, script, clip.select([]), clip_tokens(clip.select([]), 9)).threads)
        == 0
    )


def test_scores_of_names_equal_plain_loops() -> None:
    rng = torch.Generator().manual_seed(0)
    M, sizes = 60, {"one": 3, "two": 4}
    true = torch.rand(M, 7, generator=rng) < 0.3
    predicates = torch.rand(M, 7, generator=rng) < 0.2
    status = torch.randint(3, (M, 2), generator=rng)
    shown = torch.randint(-1, 3, (M, 2), generator=rng) + torch.tensor([0, 3])
    shown[shown[:, 1] == 2, 1] = -1
    found = score_names(TokenNames(predicates, shown, status), true, sizes)
    all_right: dict[int, bool] = {}
    all_exact: dict[int, bool] = {}
    every: dict[str, list[bool]] = {name: [] for name in STATUSES}
    for g, (group, span) in enumerate({"one": range(3), "two": range(3, 7)}.items()):
        right, exact, recalls = [], [], []
        by_status: dict[str, list[bool]] = {name: [] for name in STATUSES}
        for m in range(M):
            says = {r for r in span if true[m, r]}
            named = {r for r in span if predicates[m, r]}
            if says:
                is_right = int(shown[m, g]) in says
                right.append(is_right)
                exact.append(named == says)
                every[STATUSES[status[m, g]]].append(is_right)
                all_exact[m] = all_exact.get(m, True) and named == says
                by_status[STATUSES[status[m, g]]].append(is_right)
                all_right[m] = all_right.get(m, True) and is_right
        for r in span:
            hits = [bool(predicates[m, r]) for m in range(M) if true[m, r]]
            recalls.append(sum(hits) / len(hits))
        row = found["groups"][group]
        assert row["tokens"] == len(right)
        assert row["right"] == sum(right) / len(right)
        assert row["exact"] == sum(exact) / len(exact)
        assert row["macro_recall"] == pytest.approx(sum(recalls) / len(recalls))
        for name, rights in by_status.items():
            shares = {"share": len(rights) / len(right), "right": sum(rights) / len(rights)}
            assert row["status"][name] == shares
    assert found["all_groups"] == {
        "tokens": len(all_right),
        "right": sum(all_right.values()) / len(all_right),
        "exact": sum(all_exact.values()) / len(all_exact),
    }
    total = sum(map(len, every.values()))
    assert found["all_names"] == {
        name: {"share": len(rows) / total, "right": sum(rows) / len(rows)}
        for name, rows in every.items()
    }


def test_scores_without_tokens_are_none() -> None:
    none = torch.zeros(0, 7, dtype=torch.bool)
    empty = torch.zeros(0, 2, dtype=torch.int64)
    found = score_names(TokenNames(none, empty, empty), none, {"one": 3, "two": 4})
    assert found["all_groups"] == {"tokens": 0, "right": None, "exact": None}
    assert found["groups"]["one"]["macro_recall"] is None


def test_links_count_consecutive_tokens_with_known_threads() -> None:
    rows = [(0, 0), (1, 2), (0, 0), (1, 2), (0, 1), (1, -1), (0, 1), (1, 2)]  # (track, thread)
    tracks, known = torch.tensor(rows).unbind(1)
    assert dict(count_links(("cup", "cup", "bag"), tracks, known)) == {
        ("all", True): 3, ("all", False): 1,
        ("clips_with_repeated_class", True): 3, ("clips_with_repeated_class", False): 1,
        ("repeated_class", True): 2, ("repeated_class", False): 1,
    }  # fmt: skip
    found = +count_links(("cup", "towel", "bag"), tracks, known)
    assert set(found) == {("all", True), ("all", False)}


def test_names_and_status_follow_the_label_bank() -> None:
    model, batch = small(), random_batch(torch.ones(2, 3, 4, dtype=torch.bool))
    batch.human_labels[:] = 0
    rng = torch.Generator().manual_seed(0)
    bank = LabelBank(
        prototypes=torch.randn(8, 16, generator=rng),
        pairs=torch.tensor([[0, 1], [0, 2], [0, 3], [0, 4]] * 2),
        predicates=torch.eye(9, dtype=torch.bool)[[0, 1, 0, 1, 5, 6, 5, 6]],
        counts=torch.ones(8, dtype=torch.int64),
        group_sizes=tuple(GROUPS.values()),
        is_single=True,
    )
    found = name_tokens(Namer(model, bank, (None, 0.0, 0.0), torch.device("cpu")), batch)
    embeddings = model.recognize(batch).embeddings[batch.mask]
    names = bank.name(embeddings, batch.pairs)
    for m in range(len(batch.tracks)):
        expected = [int(group.predicate[m]) for group in names if group.predicate[m] >= 0]
        assert found.predicates[m].nonzero()[:, 0].tolist() == expected
        assert found.shown[m].tolist() == [int(group.predicate[m]) for group in names]
        assert len(expected) == 2
        status = [STATUSES[s] for s in found.status[m].tolist()]
        assert status == ["uncertain", "unknown", "confident"]


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Cache of one clip without features, and the folder of its world."""
    cache, world, script = tmp_path / "cache", tmp_path / "world", drawn()
    cache.mkdir()
    world.mkdir()
    info = cache_info(RULES)
    write_cache_info(cache, info)
    store_clip(cache, clip_of(script, FRAMES))
    (world / "world.json").write_text(json.dumps({"videos": [script.to_dict()]}))
    return cache, world


def command(folders: tuple[Path, Path], *words: str) -> int:
    cache, world = folders
    given = ["--cache", str(cache), "--world", str(world), "--device", "cpu"]
    return evaluate_names.main([*given, *words])


def test_command_measures_links_without_a_run(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(folders, "--out", str(tmp_path / "found.json")) == 0
    tree = json.loads((tmp_path / "found.json").read_text())
    assert (tree["videos"], tree["failed"]) == (1, 0)
    assert tree["links"]["all"]["count"] >= tree["links"]["repeated_class"]["count"] > 0
    assert "groups" not in tree
    assert "clips with repeated class" in capsys.readouterr().out


def test_measured_names_of_the_true_predicates_are_right(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, world = folders
    script = read_scripts(world, RULES, [drawn().video_id])[drawn().video_id]
    clip = clip_of(drawn(), FRAMES)
    tokens = clip_tokens(clip, 100)
    truth = true_relations(RULES, script, clip, tokens)
    classes = tuple(thread.object for thread in script.threads)
    parts = [evaluate_names.ClipTruth(classes, tokens.batch, truth)] * 3
    sizes = iter([2, 1])

    def names(_namer: Namer, batch: Any) -> TokenNames:
        times = next(sizes)
        assert len(batch) == times
        status = torch.zeros(len(batch.tracks), 3, dtype=torch.int64)
        said = truth.predicates.repeat(times, 1)
        shown = []
        start = 0
        for group in groups.values():
            part = said[:, start : start + len(group)]
            shown.append(torch.where(part.any(1), part.int().argmax(1) + start, -1))
            start += len(group)
        return TokenNames(said, torch.stack(shown, 1), status)

    monkeypatch.setattr(evaluate_names, "name_tokens", names)
    groups = read_cache_info(cache).predicate_groups
    tree = evaluate_names.measure(iter(parts), object.__new__(Namer), groups, 2)
    known = 3 * int((truth.threads >= 0).sum())
    assert tree["all_groups"] == {"tokens": known, "right": 1.0, "exact": 1.0}
    for row in tree["groups"].values():
        assert (row["right"], row["macro_recall"]) == (1.0, 1.0)
        assert row["status"]["confident"] == {"share": 1.0, "right": 1.0}


def _set(*path: str | int, to: object) -> Callable[[Any], None]:
    def change(tree: Any) -> None:
        for key in path[:-1]:
            tree = tree[key]
        tree[path[-1]] = to

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("videos", 0, "video_id", to="OTHER"), r"lacks 1 of 1 videos, such as \w+"),
        (_set("videos", 0, "film", "rate", to=[0, 1]), "film.rate: 1 to 240 expected"),
        (_set("videos", 0, "film", "hidden", to=10**9), "film.hidden: 0 to 10000 expected"),
        (_set("videos", 0, "film", "timing", to="zzz"), "constant, dropped or halved"),
        (_set("videos", 0, "length_s", to=1e12), "length_s: 0.1 to 3600 expected"),
        (_set("videos", 0, "size", to=[320, 180]), "its script has .* of 320x180 pixels"),
        (_set("videos", 0, "length_s", to=9.0), "its script has 225 frames"),
        (_set("videos", 0, "threads", 0, "object", to="unicorn"), "undefined .*unicorn"),
        (_set("videos", 0, "threads", 0, "changes", to=[]), "do not fit the changes"),
        (_set("videos", 0, "threads", to=5), "invalid script"),
        (_set("videos", to=5), "a file of tools.synthesize expected"),
    ],
)
def test_invalid_world_is_rejected(
    folders: tuple[Path, Path], change: Callable[[Any], None], message: str
) -> None:
    path = folders[1] / "world.json"
    tree = json.loads(path.read_text())
    change(tree)
    path.write_text(json.dumps(tree))
    with pytest.raises(UsageError, match=message):
        command(folders)


@pytest.mark.parametrize("text", ["", "[", "[" * 100_000, "{}", "\xff"])
def test_world_file_of_other_content_is_rejected(folders: tuple[Path, Path], text: str) -> None:
    (folders[1] / "world.json").write_text(text, encoding="latin-1")
    with pytest.raises(UsageError, match=r"a file of tools.synthesize expected"):
        command(folders)


def test_missing_files_are_named(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--run: a folder written by pipeline.train expected"):
        command(folders, "--run", str(tmp_path))
    with pytest.raises(UsageError, match="no labelled videos of the split 'train'"):
        command(folders, "--split", "train")
    with pytest.raises(UsageError, match="--out: a file in a writable folder expected"):
        command(folders, "--out", str(tmp_path))
    with pytest.raises(UsageError, match="--batch-size: at least 1 expected"):
        command(folders, "--batch-size", "0")
    (folders[1] / "world.json").unlink()
    with pytest.raises(UsageError, match=r"--world: world.json not found"):
        command(folders)


def test_cache_of_another_vocabulary_or_without_videos_is_rejected(
    folders: tuple[Path, Path],
) -> None:
    info = cache_info(RULES)
    other = replace(info, objects=info.objects[:-1])
    with pytest.raises(UsageError, match="other object classes or predicates"):
        evaluate_names.check_vocabulary(other, RULES, folders[0])
    with pytest.raises(UsageError, match="was written without pixels"):
        frame_times(drawn(), ClipSource(5))
