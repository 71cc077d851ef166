"""Run folder of a trained network.

model.json               card with sizes, classes, vocabulary and properties of the cache
model.safetensors        weights of the best epoch, see "Saved results" in docs/training.md
state.pt                 resumable checkpoint of the last finished epoch
label_bank.safetensors   prototypes, which determine the names of tokens; none for a baseline
calibration.json         accuracy of the names on the validation split; temperature of the scores
familiarity.safetensors  distribution of the features of the training videos
config.yaml              resolved configuration
log.jsonl                one line per step and per epoch
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from model.label_bank import LabelBank
from model.laiar import LaIAR
from model.network import ActionNetwork
from pipeline.errors import UsageError
from pipeline.runtime.files import write_atomically, write_json
from pipeline.weights.cards import read_json
from pipeline.weights.loading import build_with_weights
from pipeline.weights.model_card import ModelCard

CARD, WEIGHTS, BANK = "model.json", "model.safetensors", "label_bank.safetensors"
CALIBRATION, SETTINGS = "calibration.json", "config.yaml"
FAMILIARITY = "familiarity.safetensors"
#: Files that a prediction reads.
RUN_FILES = (CARD, WEIGHTS, BANK, CALIBRATION, FAMILIARITY, SETTINGS)
#: Schema of `calibration.json`.
CALIBRATION_SCHEMA = "laiar.calibration/3"


def write_card(run: Path, card: ModelCard) -> None:
    """Write `model.json`."""
    write_json(run / CARD, card.to_dict())


def read_card(run: Path) -> ModelCard:
    """Read `model.json`.

    Raises:
        UsageError: if the file is missing or invalid.
    """
    path = run / CARD
    if not path.is_file():
        raise UsageError(
            f"--run: a folder written by pipeline.train expected, but {run} has no {CARD}. "
            "Create one with: python -m pipeline.train --cache DIR --run DIR"
        )
    try:
        return ModelCard.from_dict(read_json(path))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {error}") from error


def save_weights(run: Path, state: Mapping[str, Tensor]) -> None:
    """Write `model.safetensors` unless a byte-identical file exists."""
    data = save({name: value.detach().cpu().contiguous() for name, value in state.items()})
    path = run / WEIGHTS
    if not path.is_file() or path.read_bytes() != data:
        write_atomically(path, data)


def read_weights(run: Path) -> dict[str, Tensor]:
    """Read `model.safetensors`.

    Raises:
        UsageError: if the file is missing or damaged.
    """
    path = run / WEIGHTS
    if not path.is_file():
        raise UsageError(
            f"weights file not found: {path}. Run pipeline.train until an epoch is finished"
        )
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{path}: {error}") from error


def load_model(
    run: Path, device: torch.device | str, *, tolerance: float | None = None
) -> tuple[ActionNetwork, ModelCard]:
    """Load a trained network in eval mode, and its card.

    Args:
        run: run folder.
        device: device of the parameters.
        tolerance: value of `model.tolerance`, or None for the value of the card.

    Raises:
        UsageError: if the card or the weights are missing or invalid, or the weights do not fit the
            card or are not finite.
    """
    card = read_card(run)
    if tolerance is not None:
        card = replace(card, settings=replace(card.settings, tolerance=tolerance))
    state = read_weights(run)
    try:
        model = build_with_weights(card.build, state)
        if model.reader is not None:
            model.reader.check(len(card.cache.objects))
    except (ValueError, RuntimeError) as error:
        raise UsageError(f"{run / WEIGHTS}: {error}") from error
    return model.eval().requires_grad_(False).to(device), card


def load_laiar(
    run: Path, device: torch.device | str, *, tolerance: float | None = None
) -> tuple[LaIAR, ModelCard]:
    """Load a trained network that explains its predictions, see `load_model`.

    Raises:
        UsageError: also if the network is a baseline, was trained on shuffled frames, or reads clip
            features.
    """
    model, card = load_model(run, device, tolerance=tolerance)
    settings = card.settings
    if not isinstance(model, LaIAR) or settings.shuffle_frames:
        raise UsageError(
            f"--run: a network with explanations expected, but {run} was trained with "
            f"model.network={settings.network} and model.shuffle_frames="
            f"{str(settings.shuffle_frames).lower()}, and has none; use pipeline.evaluate"
        )
    if card.clip_features is not None:
        raise UsageError(
            f"--run: a network without model.clip_features expected, but a part of each logit of "
            f"{run} comes from a vector of {card.clip_features.network} for the whole video, which "
            "no relation explains. Only pipeline.evaluate supports this network; for explanations, "
            "train one without model.clip_features"
        )
    return model, card


def save_bank(run: Path, bank: LabelBank) -> None:
    """Write `label_bank.safetensors`."""
    arrays = {n: getattr(bank, n) for n in ("prototypes", "pairs", "predicates", "counts")}
    write_atomically(run / BANK, save({n: v.contiguous() for n, v in arrays.items()}))


def load_bank(run: Path, card: ModelCard) -> LabelBank:
    """Read `label_bank.safetensors`.

    Raises:
        UsageError: if the file is missing or damaged, or the label bank does not fit the network.
    """
    path = run / BANK
    if not path.is_file():
        raise UsageError(f"label bank not found: {path}. Finish the training run")
    sizes = tuple(len(names) for names in card.cache.predicate_groups.values())
    try:
        single = card.settings.has_context_in_joint_space
        arrays = {n: v.float() if v.is_floating_point() else v for n, v in load_file(path).items()}
        bank = LabelBank(**arrays, group_sizes=sizes, is_single=single)
        if len(bank) and int(bank.pairs.max()) >= len(card.cache.objects):
            raise ValueError(f"pairs: at most {len(card.cache.objects) - 1} expected")
    except (TypeError, ValueError, OSError, SafetensorError) as error:
        raise UsageError(f"{path}: invalid label bank: {error}") from error
    if bank.prototypes.shape[1] != card.settings.dim:
        raise UsageError(
            f"{path}: prototypes of width {card.settings.dim} expected, "
            f"got {bank.prototypes.shape[1]}"
        )
    return bank


def load_calibration(run: Path, card: ModelCard) -> dict[str, Any]:
    """Read `calibration.json`.

    Raises:
        UsageError: if the file is missing or invalid, or does not fit the network.
    """
    path = run / CALIBRATION
    try:
        calibration: dict[str, Any] = read_json(path)
        if calibration["schema"] != CALIBRATION_SCHEMA:
            raise ValueError(f"schema: {CALIBRATION_SCHEMA} expected")
        if set(calibration["groups"]) != set(card.cache.predicate_groups):
            raise ValueError(f"groups: {', '.join(card.cache.predicate_groups)} expected")
        for name, group in calibration["groups"].items():
            values = [row[key] for row in group["bins"] for key in ("margin_from", "right")]
            if group["threshold"] is not None:
                values.append(group["threshold"])
            if not all(type(v) in (int, float) and math.isfinite(v) for v in values):
                raise ValueError(f"groups.{name}: finite margins and shares expected")
            if not all(0 <= row["right"] <= 1 for row in group["bins"]):
                raise ValueError(f"groups.{name}: shares from 0 to 1 expected")
            margins = [row["margin_from"] for row in group["bins"]]
            if margins != sorted(margins):
                raise ValueError(f"groups.{name}: increasing margins expected")
        temperature = calibration["scores"]["temperature"]
        if type(temperature) not in (int, float) or not 0.001 <= temperature <= 1000:
            raise ValueError("scores.temperature: 0.001 to 1000 expected")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise UsageError(
            f"{path}: a calibration file expected: {error!r}; finish the training run"
        ) from error
    return calibration
