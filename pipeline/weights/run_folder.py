"""A trained network on disk.

model.json               what it is: sizes, classes, vocabulary, the cache it was trained on
model.safetensors        weights, after the last finished epoch
state.pt                 everything needed to go on with the training
label_bank.safetensors   prototypes that name tokens; calibration.json: how often names were right
config.yaml              the resolved configuration
log.jsonl                a line per step and per epoch
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from model.build import build_laiar
from model.label_bank import LabelBank
from model.laiar import LaIAR
from model.settings import LaIARSettings
from pipeline.cache.folder import CacheInfo
from pipeline.errors import UsageError
from pipeline.runtime.files import write_atomically, write_json

MODEL_SCHEMA = "laiar.model/1"
CARD, WEIGHTS, BANK = "model.json", "model.safetensors", "label_bank.safetensors"
CALIBRATION, SETTINGS = "calibration.json", "config.yaml"


@dataclass(frozen=True)
class ModelCard:
    """What a network is and what it was trained on.

    Attributes:
        settings: of LaIAR, resolved.
        cache: what all clips shared (objects, predicates, classes, detector, settings).
        relations: source of predicates in training.
        box_features: F; union_channels: Cu.
        multi_label: several actions per video.
        training: seed, epochs, videos, versions: how it came about.
    """

    settings: LaIARSettings
    cache: CacheInfo
    relations: str
    box_features: int
    union_channels: int
    multi_label: bool = True
    training: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "schema": MODEL_SCHEMA,
            "settings": asdict(self.settings),
            "cache": self.cache.to_dict(),
            "relations": self.relations,
            "box_features": self.box_features,
            "union_channels": self.union_channels,
            "multi_label": self.multi_label,
            "training": self.training,
        }

    @classmethod
    def from_dict(cls, tree: dict[str, Any]) -> "ModelCard":
        """Inverse of `to_dict`."""
        return cls(
            LaIARSettings(**tree["settings"]),
            CacheInfo.from_dict(tree["cache"]),
            tree["relations"],
            int(tree["box_features"]),
            int(tree["union_channels"]),
            bool(tree["multi_label"]),
            tree["training"],
        )

    def build(self) -> LaIAR:
        """The network, without weights."""
        sizes = {group: len(names) for group, names in self.cache.predicate_groups.items()}
        return build_laiar(
            num_classes=len(self.cache.classes),
            num_objects=len(self.cache.objects),
            group_sizes=sizes,
            box_features=self.box_features,
            union_channels=self.union_channels,
            settings=self.settings,
        )


def write_card(run: Path, card: ModelCard) -> None:
    """Write `model.json`."""
    write_json(run / CARD, card.to_dict())


def read_card(run: Path) -> ModelCard:
    """Read `model.json`; UsageError if the folder holds no training, or one of another schema."""
    path = run / CARD
    if not path.is_file():
        raise UsageError(
            f"--run: a folder written by pipeline.train expected, {run} has no {CARD}; "
            "run: python -m pipeline.train --cache DIR --run DIR"
        )
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        if tree["schema"] != MODEL_SCHEMA:
            raise UsageError(f"{path}: schema {MODEL_SCHEMA} expected, got {tree['schema']}")
        return ModelCard.from_dict(tree)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise UsageError(f"{path}: a {MODEL_SCHEMA} file expected: {error!r}") from error


def save_weights(run: Path, model: nn.Module) -> None:
    """Write `model.safetensors`."""
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    write_atomically(run / WEIGHTS, save(state))


def load_model(run: Path, device: torch.device | str) -> tuple[LaIAR, ModelCard]:
    """The trained network, in eval mode, on a device.

    Raises:
        UsageError: if there is none, or its weights are of another shape or not finite.
    """
    card = read_card(run)
    path = run / WEIGHTS
    if not path.is_file():
        raise UsageError(
            f"{path}: weights expected, there are none; the training has not finished an epoch"
        )
    model = card.build()
    try:
        state = load_file(path)
        load_strictly(model, state)
    except (ValueError, OSError, SafetensorError) as error:
        raise UsageError(f"{path}: {error}") from error
    return model.eval().requires_grad_(False).to(device), card


def load_strictly(model: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Load weights; ValueError naming the first that is missing, extra, misshapen or not finite."""
    wanted = model.state_dict()
    for name in sorted(wanted.keys() | state.keys()):
        if name not in state:
            raise ValueError(f"{name} {tuple(wanted[name].shape)} expected, it is missing")
        if name not in wanted:
            raise ValueError(f"no {name} expected, got {tuple(state[name].shape)}")
        if wanted[name].shape != state[name].shape:
            raise ValueError(
                f"{name}: {tuple(wanted[name].shape)} expected, got {tuple(state[name].shape)}; "
                "the checkpoint is of another network"
            )
        if state[name].is_floating_point() and not bool(torch.isfinite(state[name]).all()):
            raise ValueError(f"{name}: finite weights expected, got NaN or infinity")
    model.load_state_dict(state)


def save_bank(run: Path, bank: LabelBank) -> None:
    """Write `label_bank.safetensors`."""
    arrays = {n: getattr(bank, n) for n in ("prototypes", "objects", "predicates", "counts")}
    write_atomically(run / BANK, save({n: v.contiguous() for n, v in arrays.items()}))


def load_bank(run: Path, card: ModelCard) -> LabelBank:
    """Read the label bank; UsageError if it is missing or does not fit the network."""
    path = run / BANK
    if not path.is_file():
        raise UsageError(f"{path}: a label bank expected, there is none; finish the training")
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
