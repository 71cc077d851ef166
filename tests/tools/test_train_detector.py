"""Tests of `tools.train_detector` on a small world."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.config.loading import load_settings
from pipeline.datasets.vocabulary import load_vocabulary
from pipeline.errors import UsageError
from pipeline.training.detector.batches import FrameImages, ImageOrder, mirror, repeat_factors
from pipeline.training.detector.frames import dump_frames, read_image
from pipeline.training.detector.samples import Sample
from pipeline.training.detector.scoring import coco_scores
from pipeline.training.detector.settings import DetectorTraining, TrainingConfig
from pipeline.training.detector.splits import read_samples
from pipeline.training.detector.task import rate_factor
from pipeline.training.trainer import Trainer
from pipeline.weights.cards import read_tensors
from pipeline.weights.detector_card import DetectorCard
from tests.conftest import World
from tests.pipeline.datasets.cad120.release_maker import write_frames, write_release, write_video
from tools import train_detector

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "configs" / "detector" / "world.yaml"
CAD120 = CONFIG.with_name("cad120_world.yaml")
VOCABULARY = load_vocabulary("action_genome")
TINY = (
    "detection.width=4", "detection.fpn_channels=8", "detection.head_width=16",
    "detection.short_side=64", "training.short_sides=[48,64]", "training.batch_size=2",
    "training.epochs=1", "training.warmup_steps=2", "training.log_every=1",
    "training.save_every=2", "loss.post_nms=20", "loss.roi_batch=16", "device=cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def few(world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of the annotations and of the images of a few frames."""
    folder, frames = tmp_path_factory.mktemp("few"), tmp_path_factory.mktemp("frames")
    for split, count in (("train", 8), ("test", 3)):
        tree = json.loads((world.annotations / f"coco_{split}.json").read_text())
        tree["images"] = tree["images"][:: max(len(tree["images"]) // count, 1)][:count]
        kept = {image["id"] for image in tree["images"]}
        tree["annotations"] = [a for a in tree["annotations"] if a["image_id"] in kept]
        (folder / f"coco_{split}.json").write_text(json.dumps(tree))
        dump_frames(frames, world.videos, read_samples(folder, split, VOCABULARY), 1)
    return folder, frames


def command(few: tuple[Path, Path], run: Path, *words: str) -> list[str]:
    paths = ["--annotations", str(few[0]), "--frames", str(few[1]), "--run", str(run)]
    return ["--config", str(CONFIG), *paths, *TINY, *words]


def test_training_writes_scores_and_a_detector_with_a_card(
    few: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train_detector.main(command(few, tmp_path)) == 0
    scores = json.loads((tmp_path / "metrics.json").read_text())
    assert 0 <= scores["ap"] <= scores["ap50"] <= 1
    assert scores["frames"] == 3
    assert scores["by_class"]["person"]["boxes"] > 0
    card = DetectorCard.read_header(tmp_path / "detector.safetensors", "w")
    assert card is not None
    assert (card.width, card.short_side, card.classes) == (4, 64, VOCABULARY.objects)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["kind"] == "step"]
    assert [line["step"] for line in steps] == list(range(len(steps)))
    assert set(lines[0]["terms"]) == {"rpn_class", "rpn_box", "roi_class", "roi_box"}
    assert "AP50" in capsys.readouterr().out
    weights = f"detection.weights={tmp_path / 'detector.safetensors'}"
    again = tmp_path / "again"
    words = ["--annotations", str(few[0]), "--frames", str(few[1]), "--run", str(again), "--score"]
    (tmp_path / "empty.yaml").write_text("{}\n")
    assert train_detector.main(["--config", str(tmp_path / "empty.yaml"), *words, weights]) == 0
    other = json.loads((again / "scores.json").read_text())
    assert other["ap50"] == pytest.approx(scores["ap50"], abs=0.02)  # stored in half precision


def test_resumed_training_equals_uninterrupted_training(
    few: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    words = ("training.half=false", "training.epochs=2")
    assert train_detector.main(command(few, whole, *words)) == 0
    original = Trainer.save

    def save_then_stop(self: Trainer) -> None:
        original(self)
        if self.progress.step == 6:  # in the middle of the second epoch
            assert self.progress.epoch == 1
            raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "save", save_then_stop)
    with pytest.raises(KeyboardInterrupt):
        train_detector.main(command(few, broken, *words))
    monkeypatch.undo()
    assert train_detector.main(command(few, broken, *words)) == 0
    a, b = (read_tensors(run / "detector.safetensors", "w") for run in (whole, broken))
    assert all(torch.equal(a[name], b[name]) for name in a)
    with pytest.raises(UsageError, match="a training run with other settings"):
        train_detector.main(command(few, broken, *words, "training.lr=0.5"))
    assert json.loads((broken / "run.json").read_text())["status"] == "finished"
    assert train_detector.main(command(few, broken, *words, "training.log_every=7")) == 0


def test_changed_annotations_are_rejected_on_resume(few: tuple[Path, Path], tmp_path: Path) -> None:
    run, words = tmp_path / "run", ("training.half=false",)
    assert train_detector.main(command(few, run, *words)) == 0
    moved = tmp_path / "moved"
    moved.mkdir()
    for split in ("train", "test"):
        tree = json.loads((few[0] / f"coco_{split}.json").read_text())
        tree["annotations"][0]["bbox"][0] += 1
        (moved / f"coco_{split}.json").write_text(json.dumps(tree))
    with pytest.raises(UsageError, match="other settings or other data"):
        train_detector.main(command((moved, few[1]), run, *words))


def test_training_on_jpeg_files_with_ordinary_names(few: tuple[Path, Path], tmp_path: Path) -> None:
    folder, images = tmp_path / "annotations", tmp_path / "images"
    for made in (folder, images / "train2017"):
        made.mkdir(parents=True)
    for split in ("train", "test"):
        tree = json.loads((few[0] / f"coco_{split}.json").read_text())
        for image in tree["images"]:
            name = f"train2017/{split}{image['id']:012d}.jpg"
            with Image.open(few[1] / image["file_name"]) as file:
                file.convert("RGB").save(images / name, quality=95)
            image["file_name"] = name
        (folder / f"coco_{split}.json").write_text(json.dumps(tree))
    assert train_detector.main(command((folder, images), tmp_path / "run")) == 0
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["frames"] == 3
    assert json.loads((tmp_path / "run" / "run.json").read_text())["counts"]["failed"] == 0
    for annotation in tree["annotations"]:
        annotation["image_id"] += 10**6
    (folder / "coco_train.json").write_text(json.dumps(tree))
    with pytest.raises(UsageError, match=r"none of .* annotations has the id of an image"):
        train_detector.main(command((folder, images), tmp_path / "none"))


def test_unreadable_videos_are_counted_as_failures(few: tuple[Path, Path], tmp_path: Path) -> None:
    tree = json.loads((few[0] / "coco_test.json").read_text())
    tree["images"].append(tree["images"][0] | {"id": 10**6, "file_name": "GONE1.mp4/000001.png"})
    for split in ("train", "test"):
        text = (few[0] / f"coco_{split}.json").read_text() if split == "train" else json.dumps(tree)
        (tmp_path / f"coco_{split}.json").write_text(text)
    videos = tmp_path / "videos"
    videos.mkdir()
    (videos / "OTHER.mp4").write_bytes(b"no video")
    run = tmp_path / "run"
    words = command((tmp_path, few[1]), run, "--videos", str(videos))
    assert train_detector.main(words) == 1
    record = json.loads((run / "run.json").read_text())
    assert (record["exit_code"], record["counts"]["failed"]) == (1, 1)
    failure = json.loads((run / "failures.jsonl").read_text())
    assert (failure["id"], failure["reason"]) == ("GONE1", "unreadable-video")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("loss.rpn_batch=0",), r"loss\.rpn_batch: at least 1"),
        (("loss.rpn_low=0.9",), r"loss\.rpn_low: at most rpn_high"),
        (("loss.beta=-1",), r"loss\.beta: 0 to 1e6"),
        (("loss.beta=nan",), r"loss\.beta: a number expected"),
        (("training.milestones=[0.5,nan]",), r"training\.milestones"),
        (("training.seed=-1",), r"training\.seed"),
        (("training.clip_norm=inf",), r"training\.clip_norm"),
        (("detection.score_threshold=nan",), r"detection\.score_threshold: 0 to 1"),
    ],
)
def test_settings_out_of_range_are_rejected(
    few: tuple[Path, Path], tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        train_detector.main(command(few, tmp_path / "run", *words))
    assert not (tmp_path / "run").exists()


def test_fine_tuning_keeps_frozen_weights(few: tuple[Path, Path], tmp_path: Path) -> None:
    assert train_detector.main(command(few, tmp_path / "a", "training.half=false")) == 0
    weights = tmp_path / "a" / "detector.safetensors"
    words = (f"detection.weights={weights}", "training.freeze_at=5", "training.freeze_norm=true")
    more = ("training.half=false", "training.new_heads=true", "training.schedule=step")
    sgd = ("training.optimizer=sgd", "training.lr=0.01")
    assert train_detector.main(command(few, tmp_path / "b", *words, *more, *sgd)) == 0
    before = read_tensors(weights, "w")
    after = read_tensors(tmp_path / "b" / "detector.safetensors", "w")
    for name, value in before.items():
        if name.startswith("trunk.body."):
            assert torch.equal(value, after[name]), name
    assert not torch.equal(before["roi_head.body.fc1.weight"], after["roi_head.body.fc1.weight"])


def cad120_command(root: Path, run: Path, *words: str) -> list[str]:
    paths = ["--annotations", str(root / "annotations"), "--frames", str(root / "frames")]
    sizes = ("detection.preset=detectron2-fpn", "detection.depth=26", "training.frame_stride=4")
    tiny = (*TINY, *sizes, "detection.weights=random", "fold=1")
    return ["--config", str(CAD120), *paths, "--run", str(run), *tiny, *words]


def test_detector_of_cad120_is_trained_and_scored_on_a_fold(tmp_path: Path) -> None:
    write_release(tmp_path / "annotations")
    write_frames(tmp_path / "frames")
    write_video(tmp_path / "annotations", "0002", "{")
    run, again = tmp_path / "run", tmp_path / "again"
    assert train_detector.main(cad120_command(tmp_path, run)) == 1
    counts = json.loads((run / "run.json").read_text())["counts"]
    assert (counts["found"], counts["done"], counts["failed"]) == (3, 2, 1)
    failure = json.loads((run / "failures.jsonl").read_text())
    assert (failure["id"], failure["reason"]) == ("0002", "bad-annotation")
    scores = json.loads((run / "metrics.json").read_text())
    assert {name: row["boxes"] for name, row in scores["by_class"].items()} == {
        "person": 3, "hand": 2, "head": 3, "cup": 3,
    }  # fmt: skip
    card = DetectorCard.read_header(run / "detector.safetensors", "w")
    assert card is not None
    assert card.classes == load_vocabulary("cad120").objects
    assert (card.details["dataset"], card.details["fold"]) == ("cad120", "1")
    assert card.details["frames"] == 3
    weights = f"detection.weights={run / 'detector.safetensors'}"
    words = cad120_command(tmp_path, again, "training.new_heads=false", weights, "--score")
    assert train_detector.main(words) == 1
    assert json.loads((again / "scores.json").read_text())["frames"] == 3
    with pytest.raises(UsageError, match="--videos: not with dataset=cad120"):
        train_detector.main(cad120_command(tmp_path, tmp_path / "no", "--videos", str(tmp_path)))


@pytest.mark.skipif(sys.platform != "linux", reason="torchrun with gloo is tested on Linux only")
def test_two_processes_train_one_detector(few: tuple[Path, Path], tmp_path: Path) -> None:
    torchrun = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone"]
    words = ["--nproc-per-node", "2", "-m", "tools.train_detector", "--", *command(few, tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*torchrun, *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if row["kind"] == "step"] == [0, 1, 2, 3]
    assert [row["epoch"] for row in rows if row["kind"] == "epoch"] == [1]
    assert (tmp_path / "detector.safetensors").is_file()


def sample(labels: list[int], boxes: list[list[float]], number: int = 1) -> Sample:
    crowd = torch.zeros(len(labels), dtype=torch.bool)
    name = f"AAAAA.mp4/{number:06d}.png"
    return Sample(name, torch.tensor(boxes).view(-1, 4), torch.tensor(labels), crowd)


def test_coco_scores_of_known_detections() -> None:
    truth = [
        sample([0, 1], [[0.0, 0, 10, 10], [20, 20, 40, 40]]),
        sample([0], [[5.0, 5, 15, 15]], 2),
    ]
    right = np.array(
        [[1, 0, 0, 10, 10, 0.9, 1], [1, 20, 20, 20, 20, 0.8, 2], [2, 5, 5, 10, 10, 0.7, 1]]
    )
    best = coco_scores(truth, right, ("person", "cup", "bag"))
    assert (best["ap"], best["ap50"]) == (pytest.approx(1), pytest.approx(1))
    assert list(best["by_class"]) == ["person", "cup"]
    assert best["by_class"]["person"]["boxes"] == 2
    missed = coco_scores(truth, right[:2], ("person", "cup", "bag"))
    assert missed["by_class"]["person"]["ap50"] == pytest.approx(51 / 101)  # recall 0.5
    nothing = coco_scores(truth, np.zeros((0, 7)), ("person", "cup", "bag"))
    assert nothing["ap50"] == 0


def test_mirroring_twice_is_the_identity() -> None:
    image = torch.arange(24, dtype=torch.uint8).view(1, 4, 6)
    boxes = torch.tensor([[1.0, 0, 3, 2]])
    turned, moved = mirror(image, boxes)
    assert moved.tolist() == [[3, 0, 5, 2]]
    assert torch.equal(turned[:, 0:2, 3:5].flip(2), image[:, 0:2, 1:3])
    again, back = mirror(turned, moved)
    assert torch.equal(again, image)
    assert torch.equal(back, boxes)


def test_steps_depend_on_seed_and_epoch() -> None:
    wide = [i % 3 > 0 for i in range(40)]
    order = ImageOrder(wide, 4, flip=0.5, short_sides=[1, 2], seed=7)
    steps = order.steps(0)
    assert steps == order.steps(0) != order.steps(1)
    for step in steps:
        assert len({wide[draw.row] for draw in step}) == 1
        assert len({draw.short_side for draw in step}) == 1
    rows = [draw.row for step in steps for draw in step]
    assert len(set(rows)) == len(rows) == 36


def test_rare_classes_are_sampled_more_often() -> None:
    samples = [sample([0], [[0.0, 0, 1, 1]], i) for i in range(99)]
    samples.append(sample([5], [[0.0, 0, 1, 1]], 100))
    factors = repeat_factors(samples, 0.04)
    assert factors[:99] == [1.0] * 99
    assert factors[99] == pytest.approx(2.0)


def test_learning_rate_rises_then_falls() -> None:
    step = TrainingConfig(warmup_steps=10)
    assert rate_factor(0, 100, step) == pytest.approx(0.001)
    assert rate_factor(10, 100, step) == 1
    assert rate_factor(70, 100, step) == pytest.approx(0.1)
    assert rate_factor(95, 100, step) == pytest.approx(0.01)
    cosine = load_settings(DetectorTraining, None, ["training.schedule=cosine"]).training
    assert 0 < rate_factor(cosine.warmup_steps + 8999, cosine.warmup_steps + 9000, cosine) < 1e-6


def test_invalid_input_is_rejected(
    few: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, frames = few
    tree = json.loads((folder / "coco_train.json").read_text())
    for change, says in (
        ({"categories": [{"id": 1, "name": "teapot"}]}, "got 'teapot'"),
        ({"images": [{"id": 1, "file_name": "../../etc/passwd"}]}, r"got '\.\./\.\./etc/passwd'"),
        ({"images": 3}, "COCO annotations expected"),
    ):
        (tmp_path / "coco_train.json").write_text(json.dumps(tree | change))
        with pytest.raises(UsageError, match=says):
            read_samples(tmp_path, "train", VOCABULARY)
    samples = read_samples(folder, "train", VOCABULARY)
    with pytest.raises(UsageError, match="set --videos to dump them"):
        dump_frames(tmp_path, None, samples, 1)
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(UsageError, match="an image expected, but the file is damaged"):
        read_image(tmp_path / "a.png")
    for word in ("training.epochs=0", "training.flip=2", "training.short_sides=[3]"):
        with pytest.raises(UsageError, match=word.split("=")[0].replace(".", r"\.")):
            load_settings(DetectorTraining, None, [word])
    with pytest.raises(UsageError, match="did you mean"):
        load_settings(DetectorTraining, None, ["training.epoch=1"])
    assert len(FrameImages(frames, samples)) == len(samples)


@pytest.mark.parametrize("config", sorted(CONFIG.parent.glob("*.yaml")), ids=lambda p: p.name)
def test_shipped_config_starts_with_its_command(config: Path) -> None:
    load_settings(DetectorTraining, config)
    head = re.split(r"\n(?:dataset|vocabulary):", config.read_text())[0]
    for word in ("python -m tools.train_detector", "Needs", "Takes", "Expect"):
        assert word in head
