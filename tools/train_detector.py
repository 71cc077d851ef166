"""`python -m tools.train_detector`: train or fine-tune a detector on annotated frames."""

import hashlib
import logging
import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from tqdm import tqdm

from detection.build import init_weights
from detection.detector import Detector
from pipeline.config.loading import config_as_dict, load_settings
from pipeline.datasets.vocabulary import Vocabulary, load_vocabulary
from pipeline.errors import FailureReason, ItemError, UsageError
from pipeline.runtime.command_line import common_parser, parse_words, run_command
from pipeline.runtime.devices import pick_device
from pipeline.runtime.failures import Failures
from pipeline.runtime.files import file_sha256, json_sha256, write_json
from pipeline.runtime.run_record import RunRecord
from pipeline.runtime.writers import only_command
from pipeline.training.detector.batches import (
    DrawSampler,
    FrameImages,
    build_loader,
    repeat_factors,
)
from pipeline.training.detector.frames import dump_frames, find_image, find_wide
from pipeline.training.detector.learner import DetectorLearner, with_new_heads
from pipeline.training.detector.samples import Sample, check_boxes
from pipeline.training.detector.scoring import score_detector
from pipeline.training.detector.settings import DetectorTraining
from pipeline.training.detector.splits import read_samples
from pipeline.training.log import TrainingLog
from pipeline.training.state import STATE_FILE, open_run_folder
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
class Process:
    """One process of the command. torchrun can start several processes.

    Attributes:
        rank: index of this process.
        world_size: number of processes.
        device: device of this process.
    """

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0


@dataclass(frozen=True)
class DetectorJob:
    """Training or scoring of a detector in one process.

    Attributes:
        config: settings of the training run.
        vocabulary: names of the object classes.
        args: parsed arguments of the command.
        process: process that runs the job.
    """

    config: DetectorTraining
    vocabulary: Vocabulary
    args: Any
    process: Process


def main(argv: list[str]) -> int:
    """Run the command and return the exit code."""
    parser = common_parser("python -m tools.train_detector", __doc__ or "", EXAMPLE)
    parser.add_argument("--config", type=Path, default=Path("configs/detector/world.yaml"))
    parser.add_argument(
        "--annotations", type=Path, required=True, help="folder of COCO files or pickles"
    )
    parser.add_argument(
        "--frames",
        type=Path,
        required=True,
        help="folder of images, such as ID.mp4/NNNNNN.png or NAME.jpg",
    )
    parser.add_argument("--videos", type=Path, help="folder of videos that provide missing frames")
    parser.add_argument("--run", type=Path, required=True, help="output folder")
    parser.add_argument("--score", action="store_true", help="evaluate detection.weights only")
    args, words = parse_words(parser, argv)
    config = load_settings(DetectorTraining, args.config, words)
    job = DetectorJob(config, load_vocabulary(config.vocabulary), args, _join(config))
    try:
        is_first = job.process.is_first
        with only_command(args.run) if is_first else nullcontext():
            open_run_folder(args.run, lambda names: args.score or not names or "run.json" in names)
            tree, seed = config_as_dict(config), config.training.seed
            record = RunRecord(args.run, stage="train_detector", config=tree, argv=argv, seed=seed)
            with record if is_first else nullcontext():
                return _run(job, record)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _run(job: DetectorJob, record: RunRecord) -> int:
    config, args, process = job.config, job.args, job.process
    classes = job.vocabulary.objects
    needed = ("test",) if args.score else ("train", "test")
    splits = {s: read_samples(args.annotations, s, job.vocabulary) for s in needed}
    if process.is_first:
        every = [sample for samples in splits.values() for sample in samples]
        failed = dump_frames(args.frames, args.videos, every, max(config.training.workers, 1))
        _record(args.run, record, {sample.source for sample in every}, failed)
    if process.world_size > 1:
        dist.barrier()
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
        detector = resolve_detector(config.detection).load(classes, process.device)
    else:
        detector = _train(job, splits["train"])
    if process.is_first:
        path, test = args.run / (SCORES if args.score else METRICS), splits["test"]
        scores = score_detector(detector.eval(), args.frames, test, classes, process.device)
        write_json(path, scores)
        if not args.score:
            _write(job, detector, scores, len(splits["train"]))
        record.extra["scores"] = {k: scores[k] for k in ("ap", "ap50", "ap75")}
        _report(scores, path)
    return record.exit_code


def _record(run: Path, record: RunRecord, videos: set[str], failed: dict[str, str]) -> None:
    """Record unreadable videos as failures, and count all other videos as done."""
    errors = {i: ItemError(FailureReason.UNREADABLE_VIDEO, why) for i, why in failed.items()}
    Failures(run).replace(errors, stage="train_detector", logger=LOGGER)
    record.counts.found, record.counts.failed = len(videos), len(failed)
    record.counts.done = len(videos) - len(failed)


def _train(job: DetectorJob, samples: Sequence[Sample]) -> Detector:
    config, args, process, t = job.config, job.args, job.process, job.config.training
    torch.manual_seed(t.seed + process.rank)
    detector = initial_detector(config, job.vocabulary).to(process.device)
    sampler = DrawSampler(
        find_wide(args.frames, samples),
        t.batch_size,
        weights=repeat_factors(samples, t.repeat_threshold) if t.repeat_threshold else None,
        flip=t.flip,
        short_sides=t.short_sides,
        seed=t.seed,
        rank=process.rank,
        world_size=process.world_size,
    )
    if not len(sampler):
        raise UsageError(
            f"training.batch_size: too few landscape or portrait frames among {len(samples)} for "
            f"batches of {t.batch_size} on {process.world_size} processes; use smaller batches"
        )
    learner = DetectorLearner(
        detector,
        t,
        config.loss,
        device=process.device,
        total_steps=t.epochs * len(sampler),
        rank=process.rank,
        is_distributed=process.world_size > 1,
    )
    fingerprint = _fingerprint(config, samples, process.world_size)
    if (args.run / STATE_FILE).is_file():
        learner.load(args.run, fingerprint)
        LOGGER.info("resuming at step %d of %d", learner.step_number, learner.total_steps)
    loader = build_loader(FrameImages(args.frames, samples), sampler, t.workers)
    log = TrainingLog(args.run, tensorboard=t.tensorboard and process.is_first)
    if process.is_first:
        log.rewind(learner.step_number, learner.step_number // len(sampler))
    bar = tqdm(total=learner.total_steps, initial=learner.step_number, unit="step", disable=None)
    while learner.step_number < learner.total_steps:
        sampler.epoch, sampler.skip = divmod(learner.step_number, len(sampler))
        for batch in loader:
            line = learner.step(batch)
            bar.update()
            if process.is_first and learner.step_number % t.log_every == 0:
                log.add("step", step=learner.step_number - 1, epoch=sampler.epoch, **line)
            if process.is_first and learner.step_number % t.save_every == 0:
                learner.save(args.run, fingerprint)
    if process.is_first:
        learner.save(args.run, fingerprint)
    log.close()
    return detector


def _fingerprint(config: DetectorTraining, samples: Sequence[Sample], world_size: int) -> str:
    """Return the SHA-256 of everything that determines the weights.

    The path of the initial weights is replaced by the SHA-256 of the file.
    """
    tree = config_as_dict(config)
    for name in ("workers", "save_every", "log_every", "tensorboard", "half"):
        del tree["training"][name]
    del tree["device"], tree["detection"]["batch_size"]
    weights = config.detection.weights
    if weights and weights != RANDOM:
        tree["detection"]["weights"] = file_sha256(find_detector_weights(weights))
    frames = hashlib.sha256()
    for sample in samples:
        frames.update(sample.image.encode() + b"\n")
        for value in (sample.boxes, sample.labels, sample.is_crowd):
            frames.update(value.numpy().tobytes())
    return json_sha256([tree, world_size, frames.hexdigest()])


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


def _join(config: DetectorTraining) -> Process:
    """Join the process group if torchrun started several processes."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        return Process(0, 1, pick_device(config.device))
    rank, local = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    has_gpu = pick_device(config.device).type == "cuda"
    device = torch.device(f"cuda:{local}" if has_gpu else "cpu")
    dist.init_process_group("nccl" if has_gpu else "gloo")
    return Process(rank, world_size, device)


def _write(job: DetectorJob, detector: Detector, scores: dict[str, Any], num_frames: int) -> None:
    config, network = job.config, resolve_network(job.config.detection)
    card = DetectorCard(
        preset=network.preset,
        classes=job.vocabulary.objects,
        **asdict(network.size),
        short_side=network.short_side,
        origin="trained by tools.train_detector",
        details={
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
