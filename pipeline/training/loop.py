"""Training loop of LaIAR."""

import logging
import math
import time
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from model.criterion import LaIARCriterion
from pipeline.cache.listing import ClipEntry
from pipeline.errors import StageError
from pipeline.evaluation.metrics import charades_map
from pipeline.evaluation.scoring import Scores, score_clips
from pipeline.evaluation.temperature import calibrate_scores
from pipeline.explanation.familiarity import fit_familiarity, save_familiarity
from pipeline.explanation.naming import build_bank, calibrate, label_bank
from pipeline.runtime.files import write_json
from pipeline.runtime.progress import duration
from pipeline.samples.dataset import batches
from pipeline.training.job import TrainingJob
from pipeline.training.learner import Learner
from pipeline.training.log import TrainingLog
from pipeline.training.state import STATE_FILE
from pipeline.weights.loading import load_state
from pipeline.weights.run_folder import BANK, CALIBRATION, FAMILIARITY, save_bank, save_weights

LOGGER = logging.getLogger("train")


class Training:
    """Training of a network, its label bank and the calibration of its names.

    The file `state.pt` in the run folder is the checkpoint after the last epoch. The file
    `model.safetensors` contains the weights of the best epoch, see `TrainingProgress`.

    Args:
        job: checked inputs of the training run.
        run: run folder.
        device: device to train on.
    """

    def __init__(self, job: TrainingJob, run: Path, device: torch.device) -> None:
        self.job, self.run_folder, self.device = job, run, device
        self.settings = job.config.train
        self.sizes: dict[str, Any]
        self.sizes = {"batch_size": self.settings.batch_size, "workers": self.settings.workers}
        self.data = job.training_dataset()
        torch.manual_seed(self.settings.seed)
        model = job.card.build()
        if job.initial_weights is not None:
            load_state(model, model.state_dict() | job.initial_weights)
        model = model.to(device)
        criterion = LaIARCriterion(job.config.loss)
        steps = -(-len(self.data) // self.settings.batch_size)
        self.learner = Learner(model, criterion, self.settings, device, steps)
        self._set_labels()

    def run(self) -> list[str]:
        """Train the remaining epochs and write the label bank and the calibration.

        Returns:
            Codes of `SELECTION_WARNINGS` that apply to the validation videos, or to the training
            videos if none are held out.

        Raises:
            StageError: if a clip becomes unreadable or the loss is not finite.
        """
        learner, run, epochs = self.learner, self.run_folder, self.settings.epochs
        if (run / STATE_FILE).is_file():
            learner.load(run, self.job.fingerprint)  # also restores the random state
            self._set_labels()
            done = learner.progress.epoch
            if done == epochs and all((run / name).is_file() for name in self._final_files):
                self._use_best()
                print(f"nothing to do: all {epochs} epochs of {run} are finished")
                return self._selection_warnings()
            LOGGER.info("resuming after epoch %d of %d", done, epochs)
        else:
            learner.save(run, self.job.fingerprint)
        log = TrainingLog(run, tensorboard=self.settings.tensorboard)
        log.rewind(learner.progress.step, learner.progress.epoch)
        start, first = time.time(), learner.progress.epoch
        for epoch in range(first, epochs):
            row = self._epoch(epoch, log)
            seconds = (time.time() - start) / (epoch + 1 - first) * (epochs - epoch - 1)
            LOGGER.info("%s; about %s left", _sentence(row, epochs), duration(seconds))
        log.close()
        return self._finish()

    def _epoch(self, epoch: int, log: TrainingLog) -> dict[str, Any]:
        learner, s, start = self.learner, self.settings, time.time()
        self.data.epoch = epoch
        losses, kept = [], []
        with tqdm(total=len(self.data), desc=f"epoch {epoch + 1}/{s.epochs}", disable=None) as bar:
            for batch in batches(self.data, s.batch_size, workers=s.workers, order_seed=s.seed):
                if batch.failed:
                    raise StageError(
                        f"{batch.failed[0][1]}; the clip was readable when training started"
                    )
                step = learner.progress.step
                row = learner.step(batch)
                log.add("step", step=step, epoch=epoch + 1, videos=len(batch.video_ids), **row)
                losses.append(row["loss"])
                kept.append(row["kept"])
                bar.update(len(batch.video_ids))
                bar.set_postfix(loss=f"{row['loss']:.4f}", kept=f"{row['kept']:.1f}")
        value = self._validate()
        learner.end_epoch(value)
        if learner.progress.best_epoch == learner.progress.epoch:
            save_weights(self.run_folder, learner.progress.best)
        summary: dict[str, Any] = {
            "epoch": epoch + 1,
            "step": learner.progress.step,
            "loss": sum(losses) / len(losses),
            "kept": sum(kept) / len(kept),
            "validation_map": value,
            "best_epoch": learner.progress.best_epoch,
            "seconds": round(time.time() - start, 3),
        }
        # The line is written before the checkpoint. If the run is killed in between, resuming
        # removes the line and repeats the epoch.
        log.add("epoch", **summary)
        learner.save(self.run_folder, self.job.fingerprint)
        return summary

    def _validate(self) -> float | None:
        """Return the mAP of `evaluate --split validation`; None without labelled videos."""
        scores = self._score(self.job.validation)
        for error in scores.failed.values():
            raise StageError(f"{error}; the clip was readable when training started") from error
        # The clips of a subset of the classes are chosen in advance (`with_known_labels`).
        last = self.job.card.columns is None
        value = charades_map(scores.scores, scores.labels, rank_unlabelled_last=last).map
        return None if math.isnan(value) else value

    def _score(self, clips: list[ClipEntry]) -> Scores:
        branch = self.job.card.scored_branch
        data = self.job.dataset(clips, relations=branch == "language")
        model, multi_label = self.learner.model, self.job.card.multi_label
        return score_clips(
            model, data, self.device, branch=branch, multi_label=multi_label, **self.sizes
        )

    def _finish(self) -> list[str]:
        model, cache = self.learner.model, self.job.card.cache
        self._use_best()
        if not self._final_files:
            return self._selection_warnings()
        if self.job.card.settings.has_context_in_joint_space:
            data, num = self.job.dataset(self.job.training), len(cache.objects)
            bank = build_bank(model, data, self.device, num_objects=num, **self.sizes)
        else:
            bank = label_bank(model, self.job.labels)
        save_bank(self.run_folder, bank)
        groups = tuple(cache.predicate_groups)
        named = self.job.dataset(self.job.validation)
        tree = calibrate(model, bank, named, self.device, groups=groups, **self.sizes)
        found, multi_label = self._score(self.job.validation), self.job.card.multi_label
        tree["scores"] = calibrate_scores(found.logits, found.labels, multi_label=multi_label)
        write_json(self.run_folder / CALIBRATION, tree)
        splits = (self.job.training, self.job.validation)
        familiarity = fit_familiarity(*(self.job.dataset(s, relations=False) for s in splits))
        save_familiarity(self.run_folder, familiarity)
        return self._selection_warnings()

    @property
    def _final_files(self) -> tuple[str, ...]:
        """Files that are written after the last epoch; the video branch alone needs names."""
        return (BANK, CALIBRATION, FAMILIARITY) if self.job.card.scored_branch == "video" else ()

    def _use_best(self) -> None:
        """Load the weights of the best epoch and write them unless the file contains them."""
        load_state(self.learner.model, self.learner.progress.best)
        self._set_labels()
        save_weights(self.run_folder, self.learner.progress.best)

    def _set_labels(self) -> None:
        reader = self.learner.model.reader
        if reader is not None:  # a checkpoint does not replace the labels of the training clips
            reader.set_labels(self.job.labels)

    def _selection_warnings(self) -> list[str]:
        clips = self.job.validation or self.job.training
        warnings = self._score(clips).warnings
        for warning in warnings:
            LOGGER.warning("%s", SELECTION_WARNINGS[warning])
        return warnings


SELECTION_WARNINGS = {
    "EMPTY_SELECTION": "EMPTY_SELECTION: the network keeps no token of any video, so the [class] "
    "token alone determines the scores; lower loss.selection, raise train.selection_warmup, or sum "
    "over classes (loss.reduction=sum)",
    "WHOLE_SELECTION": "WHOLE_SELECTION: the network keeps every token of every video, so the "
    "selection is not informative; with selector=gumbel, raise loss.selection or train.selector_lr",
    "DEGENERATE_SELECTION": "DEGENERATE_SELECTION: the network keeps almost every token or almost "
    "none, so no explanation can rest on its selection; change train.token_price (a higher price "
    "keeps fewer tokens), model.tolerance (a higher tolerance keeps fewer), train.selector_lr or "
    "train.selection_warmup, or train for more epochs",
}


def _sentence(row: dict[str, Any], epochs: int) -> str:
    value = row["validation_map"]
    validation = "" if value is None else f", validation mAP {value:.4f}"
    kept = f"{row['kept']:.1f} tokens kept"
    return f"epoch {row['epoch']}/{epochs}: loss {row['loss']:.4f}, {kept}{validation}"
