"""A trained network on disk.

model.json               what it is: sizes, classes, vocabulary, the cache it was trained on
model.safetensors        weights of the epoch with the best mAP on the validation split
state.pt                 resumable checkpoint, after the last finished epoch
label_bank.safetensors   prototypes that name tokens; calibration.json: how often names were right
config.yaml              the resolved configuration
log.jsonl                a line per step and per epoch
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from model.label_bank import LabelBank
from model.laiar import LaIAR
from pipeline.errors import UsageError
from pipeline.runtime.files import write_atomically, write_json
from pipeline.weights.cards import read_json
from pipeline.weights.loading import build_with_weights
from pipeline.weights.model_card import ModelCard

CARD, WEIGHTS, BANK = "model.json", "model.safetensors", "label_bank.safetensors"
CALIBRATION, SETTINGS = "calibration.json", "config.yaml"


def write_card(run: Path, card: ModelCard) -> None:
    """Write `model.json`."""
    write_json(run / CARD, card.to_dict())


def read_card(run: Path) -> ModelCard:
    """Read `model.json`; UsageError if the folder holds no training, or the file is damaged."""
    path = run / CARD
    if not path.is_file():
        raise UsageError(
            f"--run: a folder written by pipeline.train expected, {run} has no {CARD}; "
            "run: python -m pipeline.train --cache DIR --run DIR"
        )
    try:
        return ModelCard.from_dict(read_json(path))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {error}") from error


def save_weights(run: Path, state: Mapping[str, Tensor]) -> None:
    """Write `model.safetensors`, unless it holds the same bytes."""
    data = save({name: value.detach().cpu().contiguous() for name, value in state.items()})
    path = run / WEIGHTS
    if not path.is_file() or path.read_bytes() != data:
        write_atomically(path, data)


def read_weights(run: Path) -> dict[str, Tensor]:
    """Read `model.safetensors`; UsageError if it is missing or damaged."""
    path = run / WEIGHTS
    if not path.is_file():
        raise UsageError(
            f"{path}: weights expected, there are none; the training has not finished an epoch"
        )
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{path}: {error}") from error


def load_model(run: Path, device: torch.device | str) -> tuple[LaIAR, ModelCard]:
    """The trained network, in eval mode, on a device.

    Raises:
        UsageError: if there is none, or its weights are of another shape or not finite.
    """
    card = read_card(run)
    state = read_weights(run)
    try:
        model = build_with_weights(card.build, state)
    except (ValueError, RuntimeError) as error:
        raise UsageError(f"{run / WEIGHTS}: {error}") from error
    return model.eval().requires_grad_(False).to(device), card


def save_bank(run: Path, bank: LabelBank) -> None:
    """Write `label_bank.safetensors`."""
    arrays = {n: getattr(bank, n) for n in ("prototypes", "objects", "predicates", "counts")}
    write_atomically(run / BANK, save({n: v.contiguous() for n, v in arrays.items()}))


def load_bank(run: Path, card: ModelCard) -> LabelBank:
    """Read the label bank; UsageError if it is missing or does not fit the network."""
    path = run / BANK
    if not path.is_file():
        raise UsageError(f"{path}: a label bank expected, file not found; finish the training")
    sizes = tuple(len(names) for names in card.cache.predicate_groups.values())
    try:
        bank = LabelBank(**load_file(path), group_sizes=sizes)
    except (TypeError, ValueError, OSError, SafetensorError) as error:
        raise UsageError(f"{path}: a label bank expected: {error}") from error
    if bank.prototypes.shape[1] != card.settings.dim:
        raise UsageError(
            f"{path}: prototypes of width {card.settings.dim} expected, "
            f"got {bank.prototypes.shape[1]}"
        )
    return bank
