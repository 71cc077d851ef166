"""CAD-120 from frames and annotations to the mAR, on a synthetic world of four videos."""

import json
import shutil
from pathlib import Path

import av
import pytest
import torch
from PIL import Image

from pipeline import evaluate, train
from pipeline.cache.folder import read_cache_info
from pipeline.cache.listing import ClipEntry, list_clips
from pipeline.cache.manifest import read_manifest
from pipeline.cache.reader import load_clip
from pipeline.decoding.sampling import segment_rows
from pipeline.errors import UsageError
from pipeline.extract import main as extract
from pipeline.samples.clip_tokens import clip_tokens
from pipeline.samples.dataset import ClipDataset, Sample
from pipeline.samples.folds import Fold
from pipeline.samples.listing import list_samples
from tools import faithfulness

CONFIG, LANGUAGE = "configs/cad120_world.yaml", "configs/cad120_language.yaml"
RANDOM = (
    "detection.weights=random", "detection.depth=26", "detection.width=8",
    "detection.short_side=64", "decode.workers=0", "device=cpu",
)  # fmt: skip
SMALL = (
    "device=cpu", "model.dim=16", "model.layers=1", "model.heads=2", "model.num_frames=4",
    "train.epochs=1", "model.temporal_selection=false", "model.spatial_selection=false",
    "train.validation_fraction=0.4",
)  # fmt: skip


@pytest.fixture(scope="module")
def world(cad120_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cad120") / "world"
    folder.symlink_to(cad120_world)
    return folder


@pytest.fixture(scope="module")
def cache(world: Path) -> Path:
    folder = world.parent / "cache"
    assert run_extract(world, folder, "frames.num=6") == 0
    return folder


@pytest.fixture(scope="module")
def language(world: Path) -> Path:
    folder = world.parent / "language"
    words = ["--annotations", str(world / "annotations"), "--cache", str(folder)]
    assert extract(["--config", LANGUAGE, *words, "device=cpu"]) == 0
    return folder


def run_extract(world: Path, cache: Path, *words: str, videos: Path | None = None) -> int:
    paths = ["--videos", str(videos or world / "frames"), "--cache", str(cache)]
    paths += ["--annotations", str(world / "annotations")]
    return extract(["--config", CONFIG, *paths, *RANDOM, *words])


def clip_lines(world: Path) -> list[list[str]]:
    text = (world / "annotations/video_clips.txt").read_text()
    return [line.split(", ") for line in text.splitlines()]


def read(entry: ClipEntry) -> Sample:
    data = ClipDataset([entry], 10, num_frames=4, max_pairs=9, relations="ground-truth")
    sample = data[0]
    assert isinstance(sample, Sample)
    return sample


def test_each_clip_is_a_sample_of_a_video_that_is_extracted_once(world: Path, cache: Path) -> None:
    lines = clip_lines(world)
    assert len(read_manifest(cache)) == len({line[2] for line in lines}) == 4
    info = read_cache_info(cache)
    assert info.folds == {str(n): (f"Subject{s}",) for n, s in enumerate((1, 3, 4, 5), 1)}
    assert info.settings.pairs == ("hand", "head", "microwave", "state")
    names = [name for _, name in info.classes]
    expected = {f"{v}_{a}_{b}": (names.index(action), s) for s, _, v, a, b, action in lines}
    assert {v.id: (v.actions[0], v.subject) for v in info.test_videos} == expected
    found: dict[str, ClipEntry] = {}
    for split in ("train", "test"):
        samples, bad = list_samples(cache, split=split, fold=Fold(subjects=("Subject3",)))
        assert not bad
        assert {s.header.subject == "Subject3" for s in samples} == {split == "test"}
        found |= {s.video_id: s for s in samples}
    assert found.keys() == expected.keys()
    for subject, _, video, first, last, action in lines:
        entry = found[f"{video}_{first}_{last}"]
        sample, known = read(entry), load_clip(entry.path)
        assert sample.labels.nonzero().item() == names.index(action)
        assert entry.header.subject == subject
        start, stop = int(first) - 1, int(last) - 1
        centres = [start + i for i in segment_rows(stop - start + 1, 6)]
        assert {*centres} <= {*known.frame_index.tolist()}
        picked = [centres[i] for i in segment_rows(len(centres), 4)]
        data = ClipDataset([entry], 10, num_frames=4, max_pairs=9)
        assert data.read(entry).frame_index.tolist() == picked


def test_pairs_have_the_annotated_relations(world: Path, cache: Path) -> None:
    info = read_cache_info(cache)
    words = [word for names in info.predicate_groups.values() for word in names]
    entry = list_clips(cache)[0][0]
    clip = load_clip(entry.path)
    path = next((world / "annotations/all").rglob(f"{clip.video_id}.json"))
    tree = json.loads(path.read_text())
    boxes = {row["obj_id"]: row["loc_list"] for row in tree["locations"]}
    states = [((*row["obj_ids"],), row["rel_list"]) for row in tree["relations"]]
    states += [((row["obj_id"],) * 2, row["attr_list"]) for row in tree["attributes"]]
    said = clip.predicates["ground-truth"]
    assert torch.equal(said.sum(1), torch.ones(len(said)))
    for t, index in enumerate(clip.frame_index.tolist()):
        expected = {
            (*(tuple(boxes[name][index]) for name in names), listed[index])
            for names, listed in states
            if all(boxes[name][index][2] > 0 for name in names)
        }
        rows = slice(int(clip.pair_offsets[t]), int(clip.pair_offsets[t + 1]))
        found = set()
        for pair, row in zip(clip.pair_rows[rows].tolist(), said[rows], strict=True):
            corners = [clip.boxes[box].tolist() for box in pair]
            sizes = [(x1, y1, x2 - x1, y2 - y1) for x1, y1, x2, y2 in corners]
            found.add((*sizes, words[int(row.argmax())]))
        assert found == expected


def test_tracks_are_pairs_of_instances(cache: Path) -> None:
    entry = list_samples(cache, split="test", fold=Fold(subjects=("Subject1",)))[0][0]
    data = ClipDataset([entry], 10, num_frames=4, max_pairs=99, relations="ground-truth")
    clip = data.read(entry)
    made = clip_tokens(clip, 99, "ground-truth")
    assert clip.instances is not None
    keys = [tuple(row) for row in clip.instances[clip.pair_rows[made.pair_row]].tolist()]
    tracks = made.batch.tracks.tolist()
    assert len({*keys}) > 3
    assert len({*keys}) == len({*tracks}) == len({*zip(keys, tracks, strict=True)})


def test_network_is_trained_and_evaluated_on_a_fold(world: Path, cache: Path) -> None:
    run = world.parent / "run"
    words = ["--config", CONFIG, "--cache", str(cache), "--run", str(run), *SMALL]
    words += RANDOM
    assert train.main([*words, "fold=1", "model.part_width=8", "model.union_width=4"]) == 0
    assert evaluate.main(["--run", str(run), "--cache", str(cache)]) == 0
    tree = json.loads((run / "metrics.json").read_text())
    mine = [line for line in clip_lines(world) if line[0] == "Subject1"]
    assert tree["videos"] == len(mine)
    assert tree["test_videos"]["expected"] == len(mine)
    assert tree["test_videos"]["missing"] == 0
    support = {row["name"]: row["support"] for row in tree["recall"]}
    assert support == {name: sum(line[5] == name for line in mine) for name in support}
    with pytest.raises(UsageError, match="'fold=2': this setting is fixed by the network"):
        evaluate.main(["--run", str(run), "--cache", str(cache), "fold=2"])


@pytest.mark.parametrize(
    ("words", "says"),
    [([], "fold: one of 1, 2, 3, 4 expected, got none"), (["fold=9"], "got 9")],
)
def test_fold_is_required_and_must_exist(
    cache: Path, tmp_path: Path, words: list[str], says: str
) -> None:
    given = ["--config", CONFIG, "--cache", str(cache), "--run", str(tmp_path / "run"), *SMALL]
    with pytest.raises(UsageError, match=says):
        train.main([*given, *RANDOM, *words])


@pytest.fixture(scope="module")
def run(world: Path, cache: Path) -> Path:
    folder = world.parent / "video_run"
    words = ["--config", CONFIG, "--cache", str(cache), "--run", str(folder), *SMALL, *RANDOM]
    assert train.main([*words, "fold=1", "model.part_width=8", "model.union_width=4"]) == 0
    return folder


def test_damaged_clip_counts_only_in_the_split_of_its_subject(
    world: Path, cache: Path, run: Path, tmp_path: Path
) -> None:
    videos = {line[0]: line[2] for line in clip_lines(world)}
    test, other = (f"{videos[subject]}.safetensors" for subject in ("Subject1", "Subject3"))
    damaged = Path(shutil.copytree(cache, tmp_path / "cache"))
    info = read_cache_info(damaged)
    (damaged / other).write_bytes(b"x")
    for split, expected in (("test", set()), ("train", {videos["Subject3"]})):
        bad = list_samples(damaged, split=split, fold=Fold(subjects=("Subject1",)), info=info)[1]
        assert bad.keys() == expected
    words = ["--run", str(run), "--cache", str(damaged), "--out", str(tmp_path / "out")]
    assert evaluate.main(words) == 0
    (damaged / test).write_bytes(b"x")
    says = (
        r"the test subjects \(Subject1\) .* those of Subject4, Subject5 only \(1 clips are unusable"
    )
    with pytest.raises(UsageError, match=says):
        evaluate.main(words)


def test_cache_with_other_pairs_or_folds_does_not_fit(
    world: Path, run: Path, tmp_path: Path
) -> None:
    frames = one_video(world, tmp_path / "frames").parents[2]
    assert run_extract(world, tmp_path / "cache", "pairs=[hand]", videos=frames) == 0
    words = ["--run", str(run), "--out", str(tmp_path / "out"), "--cache"]
    with pytest.raises(UsageError, match=r"pairs=.*'state'\) expected .* has pairs=\('hand',\)"):
        evaluate.main([*words, str(tmp_path / "cache")])
    other = Path(shutil.copytree(world / "annotations", tmp_path / "other" / "annotations"))
    for kind in ("test", "train"):
        paths = [other / "splits" / f"{kind}list0{n}.txt" for n in (1, 2)]
        texts = [path.read_text() for path in paths]
        for path, text in zip(paths, reversed(texts), strict=True):
            path.write_text(text)
    assert run_extract(tmp_path / "other", tmp_path / "swapped", videos=frames) == 0
    with pytest.raises(UsageError, match=r"'folds' of .*Subject1.* expected, got .*Subject3"):
        evaluate.main([*words, str(tmp_path / "swapped")])


def test_reasons_are_tested_on_the_clips_of_the_fold(
    world: Path, cache: Path, run: Path, tmp_path: Path
) -> None:
    words = ["--run", str(run), "--cache", str(cache), "--out", str(tmp_path), "--device", "cpu"]
    assert faithfulness.main([*words, "--other", str(cache)]) == 0
    tree = json.loads((tmp_path / "faithfulness.json").read_text())
    assert tree["videos"] == sum(line[0] == "Subject1" for line in clip_lines(world))
    assert not tree["left_out"].get(faithfulness.WITHOUT_OTHER)
    for folder in (world, world / "annotations"):
        with pytest.raises(UsageError, match="contains those of CAD-120, which are not supp"):
            faithfulness.main([*words, "--annotations", str(folder)])


def test_changed_action_of_a_clip_replaces_the_labels_of_a_cache_without_features(
    world: Path, language: Path, tmp_path: Path
) -> None:
    changed = Path(shutil.copytree(world / "annotations", tmp_path / "annotations"))
    lines = clip_lines(world)
    lines[0][5] = "clean"
    (changed / "video_clips.txt").write_text("".join(f"{', '.join(line)}\n" for line in lines))
    there, fresh = Path(shutil.copytree(language, tmp_path / "there")), tmp_path / "fresh"
    for folder in (there, fresh):
        words = ["--annotations", str(changed), "--cache", str(folder), "device=cpu"]
        assert extract(["--config", LANGUAGE, *words]) == 0
    for path in fresh.glob("*.safetensors"):
        assert path.read_bytes() == (there / path.name).read_bytes()
    assert (there / "cache.json").read_bytes() == (fresh / "cache.json").read_bytes()


def test_faulty_annotation_fails_by_name_in_a_cache_without_features(
    world: Path, tmp_path: Path
) -> None:
    changed = Path(shutil.copytree(world / "annotations", tmp_path / "annotations"))
    path = min((changed / "all").rglob("*.json"))
    path.write_text("{")
    words = ["--annotations", str(changed), "--cache", str(tmp_path / "cache"), "device=cpu"]
    assert extract(["--config", LANGUAGE, *words]) == 1
    found = failure(tmp_path / "cache")
    assert (found["id"], found["reason"]) == (path.stem, "bad-annotation")
    assert len(read_manifest(tmp_path / "cache")) == 3


def test_language_branch_needs_annotations_only(world: Path, language: Path) -> None:
    run = world.parent / "language_run"
    words = ["--config", LANGUAGE, "--cache", str(language), "--run", str(run), *SMALL]
    assert train.main([*words, "fold=3"]) == 0
    assert evaluate.main(["--run", str(run), "--cache", str(language)]) == 0
    tree = json.loads((run / "metrics.json").read_text())
    assert tree["branch"] == "language"
    assert tree["mar"] is not None
    clip = load_clip(list_clips(language)[0][0].path)
    assert clip.box_features.shape[1] == clip.union_features.shape[1] == 0


def test_annotations_alone_give_the_boxes_and_relations_of_the_frames(
    world: Path, cache: Path, tmp_path: Path
) -> None:
    words = ["--annotations", str(world / "annotations"), "--cache", str(tmp_path / "cache")]
    words += ["occluded=false", "frames.num=6", "decode.fps=15", "device=cpu"]
    assert extract(["--config", LANGUAGE, *words]) == 0
    for entry in list_clips(cache)[0]:
        full, bare = load_clip(entry.path), load_clip(tmp_path / "cache" / entry.path.name)
        assert torch.equal(full.frame_index, bare.frame_index)
        for name in ("boxes", "labels", "pairs", "instances", "pair_offsets", "timestamps_s"):
            assert torch.equal(getattr(full, name), getattr(bare, name)), name
        assert torch.equal(*(clip.predicates["ground-truth"] for clip in (full, bare)))
        assert full.header.spans == bare.header.spans


@pytest.mark.parametrize(
    ("flags", "words", "says"),
    [
        (["--videos", "VIDEOS"], [], "--videos: features=none reads no videos"),
        ([], ["boxes=detected"], "boxes=ground-truth expected"),
        ([], ["union=full"], "features=none: union=none expected"),
        ([], ["decode.fps=null"], "frames per second expected"),
        ([], ["pairs=[arm]"], "pairs: different kinds of the vocabulary expected"),
        ([], ["features=detector"], "occluded=true: features=none expected"),
        ([], ["dataset=charades"], "at least one of Charades_v1_classes.txt"),
    ],
)
def test_contradicting_settings_of_a_cache_without_features_are_rejected(
    world: Path, tmp_path: Path, flags: list[str], words: list[str], says: str
) -> None:
    given = ["--annotations", str(world / "annotations"), "--cache", str(tmp_path)]
    flags = [str(world / "frames") if flag == "VIDEOS" else flag for flag in flags]
    with pytest.raises(UsageError, match=says):
        extract(["--config", LANGUAGE, *given, *flags, *words])
    with pytest.raises(UsageError, match="--annotations: features=none reads annotations"):
        extract(["--config", LANGUAGE, "--cache", str(tmp_path)])
    with pytest.raises(UsageError, match="--videos: the folder of the videos expected"):
        extract(["--config", CONFIG, "--cache", str(tmp_path), *RANDOM])


def one_video(world: Path, folder: Path) -> Path:
    """Copy the frames of one video to a new folder, and return this folder of frames."""
    source = sorted(p for p in (world / "frames").glob("*/*/*") if p.is_dir())[0]
    return Path(shutil.copytree(source, folder / source.relative_to(world / "frames")))


def failure(cache: Path) -> dict[str, str]:
    lines = (cache / "failures.jsonl").read_text().splitlines()
    assert len(lines) == 1
    return dict(json.loads(lines[0]))


def last_frame(frames: Path) -> Path:
    return max(frames.glob("RGB_*.png"), key=lambda path: int(path.stem[4:]))


def test_missing_frame_fails_by_name(world: Path, tmp_path: Path) -> None:
    frames = one_video(world, tmp_path / "frames")
    (frames / "RGB_7.png").unlink()
    assert run_extract(world, tmp_path / "cache", videos=tmp_path / "frames") == 1
    found = failure(tmp_path / "cache")
    assert found["reason"] == "truncated-video"
    assert "1 of them are missing (000007)" in found["message"]


@pytest.mark.parametrize("change", [-1, 1])
def test_video_of_another_length_than_the_annotation_fails(
    world: Path, tmp_path: Path, change: int
) -> None:
    frames = one_video(world, tmp_path / "frames")
    last = last_frame(frames)
    num = int(last.stem[4:])
    if change < 0:
        last.unlink()
    else:
        shutil.copy(last, frames / f"RGB_{num + 1}.png")
    assert run_extract(world, tmp_path / "cache", videos=tmp_path / "frames") == 1
    found = failure(tmp_path / "cache")
    assert found["reason"] in ("bad-annotation", "frame-out-of-range")
    assert f"{num + change}" in found["message"]


def test_video_file_is_a_source_too(world: Path, cache: Path, tmp_path: Path) -> None:
    frames = one_video(world, tmp_path / "frames")
    paths = sorted(frames.glob("RGB_*.png"), key=lambda path: int(path.stem[4:]))
    with av.open(str(tmp_path / f"{frames.name}.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=15)
        stream.pix_fmt = "bgr0"
        with Image.open(paths[0]) as image:
            stream.width, stream.height = image.size
        for path in paths:
            with Image.open(path) as image:
                picture = av.VideoFrame.from_image(image.convert("RGB"))
            container.mux(stream.encode(picture.reformat(format="bgr0")))
        container.mux(stream.encode())
    shutil.rmtree(tmp_path / "frames")
    words = ["decode.backend=pyav", "decode.fps=null", "frames.num=6"]
    assert run_extract(world, tmp_path / "cache", *words, videos=tmp_path) == 0
    name = f"{frames.name}.safetensors"
    one, two = load_clip(cache / name), load_clip(tmp_path / "cache" / name)
    for field in ("frame_index", "boxes", "pairs", "box_features", "instances"):
        assert torch.equal(getattr(one, field), getattr(two, field)), field


def test_detector_of_other_classes_finds_those_of_the_vocabulary(
    world: Path, tmp_path: Path
) -> None:
    words = ["boxes=detected", "pairs=[person]", "frames.num=2", "relations=none"]
    words += ["detection.weights=configs/detector/world.safetensors", "detection.batch_size=1"]
    paths = ["--videos", str(one_video(world, tmp_path / "frames").parent)]
    paths += ["--annotations", str(world / "annotations"), "--cache", str(tmp_path / "cache")]
    assert extract(["--config", CONFIG, *paths, "device=cpu", "decode.workers=0", *words]) == 0
    clip = load_clip(list_clips(tmp_path / "cache")[0][0].path)
    assert clip.distribution.shape[1] == len(read_cache_info(tmp_path / "cache").objects)
    assert clip.header.num_uniform is None
    assert len(clip.boxes)
    first = clip.labels[clip.pair_rows[:, 0]]
    assert bool((first == 0).all())
