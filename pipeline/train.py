"""`python -m pipeline.train`: fit LaIAR to the training videos of a cache."""

import logging
import math
import time
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from model.criterion import LaIARCriterion
from pipeline.cache.folder import read_cache_info
from pipeline.config.schema import config_as_dict, load_config
from pipeline.errors import ItemError, StageError, UsageError
from pipeline.evaluation.metrics import charades_map
from pipeline.evaluation.scoring import score_clips
from pipeline.explanation.naming import build_bank, calibrate
from pipeline.runtime.command_line import EXIT_BUDGET, common_parser, parse_words, run_command
from pipeline.runtime.files import write_json
from pipeline.runtime.run_record import Failures, RunRecord
from pipeline.samples.dataset import batches
from pipeline.training.job import Job, check_cache, open_run, prepare, training_clips
from pipeline.training.learner import Learner
from pipeline.training.log import TrainingLog
from pipeline.training.state import STATE
from pipeline.weights.detectors import pick_device
from pipeline.weights.run_folder import CALIBRATION, save_bank, save_weights

LOGGER = logging.getLogger("train")
EXAMPLE = (
    "python -m pipeline.train --config configs/charades_oracle.yaml --cache cache/oracle "
    "--run runs/oracle"
)


def main(argv: list[str]) -> int:
    """Run the stage; returns its exit code."""
    parser = common_parser("python -m pipeline.train", __doc__ or "", EXAMPLE)
    parser.add_argument("--config", type=Path, default=Path("configs/charades_oracle.yaml"))
    parser.add_argument("--cache", type=Path, required=True, help="folder of pipeline.extract")
    parser.add_argument("--run", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with what lies in --run, refuse to begin anew (the same command goes on too)",
    )
    args, words = parse_words(parser, argv)
    config = load_config(args.config, words)
    info = read_cache_info(args.cache)
    check_cache(config, info)
    device = pick_device(config.device)
    if args.resume and not (args.run / STATE).is_file():
        raise UsageError(f"--resume: a training in {args.run} expected, there is no {STATE}")
    clips, bad = training_clips(config, args.cache)
    job = prepare(config, info, clips, args.cache)
    open_run(args.run, job, config)
    record = RunRecord(
        args.run, stage="train", config=config_as_dict(config), argv=argv, seed=config.train.seed
    )
    with record as run:
        run.counts.found = len(clips) + len(bad)
        run.counts.failed = len(bad)
        _record_failures(args.run, bad)
        if job.is_random_detector:
            run.extra["warnings"] = ["RANDOM_WEIGHTS"]
        if run.exit_code == EXIT_BUDGET:
            LOGGER.error("stopped: %d failures, at most %d allowed", len(bad), config.max_failures)
        else:
            Training(job, args.run, device).run()
            run.counts.done = len(clips)
    print(f"train: {run.counts}")
    print(f"evaluate it: python -m pipeline.evaluate --run {args.run} --cache {args.cache}")
    return run.exit_code


class Training:
    """The loop over epochs."""

    def __init__(self, job: Job, run: Path, device: torch.device) -> None:
        self.job, self.run_folder, self.device = job, run, device
        self.settings = job.config.train
        self.data = job.dataset(job.training, seed=self.settings.seed)
        self.validation = job.dataset(job.validation)
        torch.manual_seed(self.settings.seed)
        model = job.card.build().to(device)
        criterion = LaIARCriterion(job.config.loss)
        steps = -(-len(self.data) // self.settings.batch_size)
        self.learner = Learner(model, criterion, self.settings, device, steps)

    def run(self) -> None:
        """Train what is missing, then name and calibrate."""
        learner, progress = self.learner, self.learner.progress
        if (self.run_folder / STATE).is_file():
            learner.load(self.run_folder, self.job.fingerprint)
            progress = learner.progress
            if progress.epoch == self.settings.epochs and (self.run_folder / CALIBRATION).is_file():
                print(f"nothing to do: {self.run_folder} has its {progress.epoch} epochs")
                return
            LOGGER.info("going on after epoch %d of %d", progress.epoch, self.settings.epochs)
        log = TrainingLog(self.run_folder, tensorboard=self.settings.tensorboard)
        log.rewind(progress.step, progress.epoch)
        if progress.step == 0:
            self._save()
        start, first = time.time(), progress.epoch
        for epoch in range(first, self.settings.epochs):
            row = self._epoch(epoch, log)
            done = epoch + 1 - first
            left = (time.time() - start) / done * (self.settings.epochs - epoch - 1)
            LOGGER.info("%s; about %s left", _sentence(row, self.settings.epochs), _duration(left))
        log.close()
        self._finish()

    def _epoch(self, epoch: int, log: TrainingLog) -> dict[str, Any]:
        learner, start = self.learner, time.time()
        self.data.epoch = epoch
        s = self.settings
        losses, kept = [], []
        with tqdm(total=len(self.data), desc=f"epoch {epoch + 1}/{s.epochs}", disable=None) as bar:
            for batch in batches(self.data, s.batch_size, workers=s.workers, order_seed=s.seed):
                if batch.failed:
                    raise StageError(f"{batch.failed[0][1]}; it was whole when the training began")
                step = learner.progress.step
                row = learner.step(batch)
                log.add("step", step=step, epoch=epoch + 1, videos=len(batch.video_ids), **row)
                losses.append(row["loss"])
                kept.append(row["kept"])
                bar.update(len(batch.video_ids))
                bar.set_postfix(loss=f"{row['loss']:.4f}", kept=f"{row['kept']:.1f}")
        learner.progress.epoch = epoch + 1
        summary: dict[str, Any] = {
            "epoch": epoch + 1,
            "step": learner.progress.step,
            "loss": sum(losses) / len(losses),
            "kept": sum(kept) / len(kept),
            "validation_map": self._validate(),
            "seconds": round(time.time() - start, 3),
        }
        if summary["kept"] == 0:
            LOGGER.warning(
                "EMPTY_SELECTION: no token was kept in this epoch; lower loss.selection, raise "
                "train.selection_warmup, or sum over classes (loss.reduction=sum)"
            )
        # Before the state: a line that has none is dropped when the training goes on.
        log.add("epoch", **summary)
        self._save()
        return summary

    def _validate(self) -> float | None:
        if not len(self.validation):
            return None
        s = self.settings
        found = score_clips(
            self.learner.model,
            self.validation,
            self.device,
            batch_size=s.batch_size,
            workers=s.workers,
        )
        value = charades_map(found.scores, found.labels).map
        return None if math.isnan(value) else value

    def _save(self) -> None:
        self.learner.save(self.run_folder, self.job.fingerprint)
        save_weights(self.run_folder, self.learner.model)

    def _finish(self) -> None:
        model, card, s = self.learner.model, self.job.card, self.settings
        save_weights(self.run_folder, model)
        sizes = {"batch_size": s.batch_size, "workers": s.workers}
        whole = self.job.dataset(self.job.training)
        objects = len(card.cache.objects)
        bank = build_bank(model, whole, self.device, num_objects=objects, **sizes)
        save_bank(self.run_folder, bank)
        groups = tuple(card.cache.predicate_groups)
        tree = calibrate(model, bank, self.validation, self.device, groups=groups, **sizes)
        write_json(self.run_folder / CALIBRATION, tree)


def _record_failures(run: Path, bad: dict[str, ItemError]) -> None:
    failures = Failures(run)
    failures.keep_only(set(bad))
    for video_id, error in bad.items():
        LOGGER.error("%s failed: %s: %s", video_id, error.reason.value, error)
        failures.add(video_id, error, stage="train", sha256="", settings="")


def _sentence(row: dict[str, Any], epochs: int) -> str:
    value = row["validation_map"]
    validation = "" if value is None else f", validation mAP {value:.4f}"
    kept = f"{row['kept']:.1f} tokens kept"
    return f"epoch {row['epoch']}/{epochs}: loss {row['loss']:.4f}, {kept}{validation}"


def _duration(seconds: float) -> str:
    minutes = int(seconds // 60)
    return f"{minutes} min" if minutes else f"{int(seconds)} s"


if __name__ == "__main__":
    run_command(main)
