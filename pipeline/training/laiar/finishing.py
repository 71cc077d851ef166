"""Files that are written after the last epoch: label bank, calibration and familiarity."""

import logging
from pathlib import Path
from typing import Any

from torch import Tensor

from model.laiar import LaIAR
from pipeline.evaluation.temperature import calibrate_scores
from pipeline.explanation.familiarity import fit_familiarity, save_familiarity
from pipeline.explanation.naming import build_bank, calibrate, label_bank, without_names
from pipeline.runtime.files import write_json
from pipeline.training.laiar.job import TrainingJob
from pipeline.training.laiar.task import LaIARTask
from pipeline.weights.loading import load_state
from pipeline.weights.run_folder import BANK, CALIBRATION, FAMILIARITY, save_bank, save_weights

LOGGER = logging.getLogger("train")
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


def is_finished(job: TrainingJob, run: Path) -> bool:
    """Return whether a run folder has the files that are written after the last epoch."""
    return all((run / name).is_file() for name in _files(job))


def finish(task: LaIARTask, best: dict[str, Tensor]) -> list[str]:
    """Write the best weights, the label bank and the calibration, unless they exist.

    A baseline has no label bank, and its calibration has no names.

    Args:
        task: the trained network, which gets the best weights.
        best: weights of the best epoch.

    Returns:
        Codes of `SELECTION_WARNINGS` that apply to the validation videos, or to the training
        videos if none are held out.
    """
    job, run, network = task.job, task.run_folder, task.network
    load_state(network, best)
    task.set_labels()
    save_weights(run, best)
    if not is_finished(job, run):
        _write(task)
    warnings = task.score(job.validation or job.training).warnings
    for warning in warnings:
        LOGGER.warning("%s", SELECTION_WARNINGS[warning])
    return warnings


def _write(task: LaIARTask) -> None:
    job, run, network, cache = task.job, task.run_folder, task.network, task.job.card.cache
    sizes: dict[str, Any]
    sizes = {"batch_size": task.settings.batch_size, "workers": task.settings.workers}
    groups = tuple(cache.predicate_groups)
    tree = without_names(groups)
    if isinstance(network, LaIAR):
        if job.card.settings.has_context_in_joint_space:
            bank = build_bank(network, job.dataset(job.training), task.device, **sizes)
        else:
            bank = label_bank(network, job.labels)
        save_bank(run, bank)
        named = job.dataset(job.validation)
        tree = calibrate(network, bank, named, task.device, groups=groups, **sizes)
    found, multi_label = task.score(job.validation), job.card.multi_label
    tree["scores"] = calibrate_scores(found.logits, found.labels, multi_label=multi_label)
    write_json(run / CALIBRATION, tree)
    splits = (job.training, job.validation)
    save_familiarity(run, fit_familiarity(*(job.dataset(s, relations=False) for s in splits)))


def _files(job: TrainingJob) -> tuple[str, ...]:
    """Return the names of the files; the video branch of LaIAR alone needs names."""
    if job.card.scored_branch != "video":
        return ()
    bank = () if job.card.settings.is_baseline else (BANK,)
    return (*bank, CALIBRATION, FAMILIARITY)
