"""`python -m tools.train_detector`: train or fine-tune a detector on annotated frames."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from detection.build import init_weights
from detection.detector import Detector
from pipeline.config.loading import config_as_dict, load_settings
from pipeline.config.schema import Dataset
from pipeline.datasets.vocabulary import Vocabulary, load_vocabulary
from pipeline.errors import FailureReason, ItemError, UsageError
from pipeline.runtime.command_line import common_parser, parse_words, run_command
from pipeline.runtime.failures import Failures
from pipeline.runtime.files import file_sha256, json_sha256, write_json
from pipeline.runtime.run_record import RunRecord
from pipeline.training.detector.batches import FrameImages, ImageOrder, repeat_factors
from pipeline.training.detector.frames import dump_frames, find_image, find_wide
from pipeline.training.detector.samples import Sample, check_boxes
from pipeline.training.detector.scoring import score_detector
from pipeline.training.detector.settings import DetectorTraining
from pipeline.training.detector.splits import read_splits
from pipeline.training.detector.task import DetectorTask, with_new_heads
from pipeline.training.processes import Processes, join_processes, training_run
from pipeline.training.state import open_run_folder
from pipeline.training.trainer import Trainer
from pipeline.weights.cards import read_tensors, save_carded
from pipeline.weights.detector_card import DetectorCard
from pipeline.weights.detectors import (
    RANDOM,
    check_classes,
    find_detector_weights,
    resolve_detector,
    resolve_network,
)
from pipeline.weights.loading import load_state

LOGGER = logging.getLogger("train_detector")
EXAMPLE = (
    "python -m tools.train_detector --config configs/detector/world.yaml "
    "--annotations world/annotations --videos world/videos --frames frames --run runs/detector"
)
WEIGHTS, METRICS, SCORES = "detector.safetensors", "metrics.json", "scores.json"


@dataclass(frozen=True)
class DetectorJob:
    """Training or scoring of a detector in one process.

    Attributes:
        config: settings of the training run.
        vocabulary: names of the object classes.
        args: parsed arguments of the command.
        processes: processes that run the job.
    """

    config: DetectorTraining
    vocabulary: Vocabulary
    args: Any
    processes: Processes


def main(argv: list[str]) -> int:
    """Run the command and return the exit code."""
    parser = common_parser("python -m tools.train_detector", __doc__ or "", EXAMPLE)
    parser.add_argument("--config", type=Path, default=Path("configs/detector/world.yaml"))
    parser.add_argument(
        "--annotations",
        type=Path,
        required=True,
        help="folder of COCO files or pickles, or of the annotations of dataset",
    )
    parser.add_argument(
        "--frames",
        type=Path,
        required=True,
        help="folder of images, such as ID.mp4/NNNNNN.png, NAME.jpg or FOLDER/ID/RGB_N.png",
    )
    parser.add_argument("--videos", type=Path, help="folder of videos that provide missing frames")
    parser.add_argument("--run", type=Path, required=True, help="output folder")
    parser.add_argument("--score", action="store_true", help="evaluate detection.weights only")
    args, words = parse_words(parser, argv)
    config = load_settings(DetectorTraining, args.config, words)
    if args.videos is not None and config.dataset is not Dataset.charades:
        raise UsageError(
            f"--videos: not with dataset={config.dataset.value}, whose images are the frames in "
            "the folders below --frames; leave it out"
        )
    vocabulary = load_vocabulary(config.vocabulary)
    with join_processes(config.device) as processes:
        tree, seed = config_as_dict(config), config.training.seed
        record = RunRecord(args.run, stage="train_detector", config=tree, argv=argv, seed=seed)

        def open_folder() -> None:
            open_run_folder(args.run, lambda names: args.score or not names or "run.json" in names)

        with training_run(processes, record, open_folder):
            return _run(DetectorJob(config, vocabulary, args, processes), record)


def _run(job: DetectorJob, record: RunRecord) -> int:
    config, args, processes = job.config, job.args, job.processes
    classes = job.vocabulary.objects
    needed = ("test",) if args.score else ("train", "test")
    splits, errors = read_splits(
        config, needed, job.vocabulary, annotations=args.annotations, frames=args.frames
    )
    if processes.is_first:
        every = [sample for samples in splits.values() for sample in samples]
        failed = dump_frames(args.frames, args.videos, every, max(config.training.workers, 1))
        errors |= {i: ItemError(FailureReason.UNREADABLE_VIDEO, why) for i, why in failed.items()}
        _record(args.run, record, {sample.source for sample in every} | errors.keys(), errors)
    processes.wait()
    splits = {
        split: [s for s in samples if find_image(args.frames, s) is not None]
        for split, samples in splits.items()
    }
    for split, samples in splits.items():
        if not samples:
            raise UsageError(
                f"--annotations: readable {split} frames expected, found none; see failures.jsonl"
            )
        check_boxes(samples, split, "--annotations: readable images")
    if args.score:
        detector = resolve_detector(config.detection).load(classes, processes.device)
    else:
        detector = _train(job, splits["train"])
    if processes.is_first:
        path, test = args.run / (SCORES if args.score else METRICS), splits["test"]
        scores = score_detector(detector.eval(), args.frames, test, classes, processes.device)
        write_json(path, scores)
        if not args.score:
            _write(job, detector, scores, len(splits["train"]))
        record.extra["scores"] = {k: scores[k] for k in ("ap", "ap50", "ap75")}
        _report(scores, path)
    return record.exit_code


def _record(run: Path, record: RunRecord, videos: set[str], errors: dict[str, ItemError]) -> None:
    """Record unusable videos as failures, and count all other videos as done."""
    Failures(run).replace(errors, stage="train_detector", logger=LOGGER)
    record.counts.found, record.counts.failed = len(videos), len(errors)
    record.counts.done = len(videos) - len(errors)


def _train(job: DetectorJob, samples: Sequence[Sample]) -> Detector:
    config, args, processes, t = job.config, job.args, job.processes, job.config.training
    torch.manual_seed(t.seed)
    detector = initial_detector(config, job.vocabulary).to(processes.device)
    order = ImageOrder(
        find_wide(args.frames, samples),
        t.batch_size,
        weights=repeat_factors(samples, t.repeat_threshold) if t.repeat_threshold else None,
        flip=t.flip,
        short_sides=t.short_sides,
        seed=t.seed,
    )
    if not order.steps(0):
        raise UsageError(
            f"training.batch_size: too few landscape or portrait frames among {len(samples)} for "
            f"batches of {t.batch_size}; use smaller batches"
        )
    images = FrameImages(args.frames, samples)
    task = DetectorTask(detector, images, order, t, config.loss, processes.device)
    trainer = Trainer(
        task,
        t,
        args.run,
        _fingerprint(config, samples),
        processes,
        log_every=t.log_every,
        save_every=t.save_every,
    )
    trainer.open()
    trainer.run()
    return detector


def _fingerprint(config: DetectorTraining, samples: Sequence[Sample]) -> str:
    """Return the SHA-256 of everything that determines the weights.

    The path of the initial weights is replaced by the SHA-256 of the file, and the settings that
    select the samples by the SHA-256 of the samples.
    """
    tree = config_as_dict(config)
    for name in ("accumulate", "workers", "save_every", "log_every", "tensorboard", "half"):
        del tree["training"][name]
    del tree["dataset"], tree["fold"], tree["training"]["frame_stride"]
    del tree["device"], tree["detection"]["batch_size"]
    weights = config.detection.weights
    if weights and weights != RANDOM:
        tree["detection"]["weights"] = file_sha256(find_detector_weights(weights))
    frames = hashlib.sha256()
    for sample in samples:
        frames.update(sample.image.encode() + b"\n")
        for value in (sample.boxes, sample.labels, sample.is_crowd):
            frames.update(value.numpy().tobytes())
    return json_sha256([tree, frames.hexdigest()])


def initial_detector(config: DetectorTraining, vocabulary: Vocabulary) -> Detector:
    """Build the detector with its initial weights.

    Raises:
        UsageError: if the weights of `detection.weights` do not fit the detector.
    """
    weights = config.detection.weights
    detector = resolve_network(config.detection).build(len(vocabulary.objects))
    init_weights(detector, config.training.seed)
    if weights and weights != RANDOM:
        path = find_detector_weights(weights)
        state = read_tensors(path, "detection.weights")
        card = DetectorCard.read_header(path, "detection.weights")
        if config.training.new_heads:
            state = with_new_heads(state, detector)
        elif card is not None:
            check_classes(card.classes, vocabulary.objects, f"{path} (or training.new_heads=true)")
        try:
            load_state(detector, state)
        except ValueError as error:
            raise UsageError(f"detection.weights: {path}: {error}") from error
    return detector


def _write(job: DetectorJob, detector: Detector, scores: dict[str, Any], num_frames: int) -> None:
    config, network = job.config, resolve_network(job.config.detection)
    card = DetectorCard(
        preset=network.preset,
        classes=job.vocabulary.objects,
        **asdict(network.size),
        short_side=network.short_side,
        origin="trained by tools.train_detector",
        details={
            "dataset": config.dataset.value,
            "fold": config.fold,
            "training": config_as_dict(config)["training"],
            "loss": asdict(config.loss),
            "frames": num_frames,
            "test": {k: scores[k] for k in ("ap", "ap50", "ap75", "by_size", "frames")},
        },
    )
    save_carded(job.args.run / WEIGHTS, detector.state_dict(), card, half=config.training.half)


def _report(scores: dict[str, Any], path: Path) -> None:
    print(f"\n{scores['frames']} test frames")
    shown = {"all": scores} | scores["by_size"] | scores["by_class"]
    print(f"{'':22} {'AP':>7} {'AP50':>7} {'boxes':>7}")
    for name, row in shown.items():
        values = [f"{row[k]:7.4f}" if row[k] is not None else "      -" for k in ("ap", "ap50")]
        print(f"{name:22} {values[0]} {values[1]} {row.get('boxes', ''):>7}")
    print(f"\n{path}")


if __name__ == "__main__":
    run_command(main)
