"""From the config to a detector that carries weights, and to its identity."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from detection.build import build_detector, seed_weights
from detection.detector import Detector
from detection.weights import load_state
from pipeline.config import DetectionConfig
from pipeline.errors import UsageError
from pipeline.files import file_sha256

RANDOM = "random"
_HOW_TO = (
    "give detection.weights=FILE.safetensors (python -m tools.convert_weights turns Action "
    "Genome's faster_rcnn_ag.pth into one), or detection.weights=random to try the program with a "
    "detector that knows nothing"
)


@dataclass(frozen=True)
class DetectorIdentity:
    """What determines a detector's numbers.

    Attributes:
        weights: SHA-256 of the weights file, or `random:SEED`.
        settings: preset, depth, width, sizes and thresholds.
    """

    weights: str
    settings: dict[str, Any]

    @property
    def is_random(self) -> bool:
        """Whether the weights are untrained."""
        return self.weights.startswith(f"{RANDOM}:")

    def to_tree(self) -> dict[str, Any]:
        """As JSON."""
        return {"weights": self.weights, **self.settings}


def detector_identity(config: DetectionConfig) -> DetectorIdentity:
    """Identity of the configured detector, without building it.

    Raises:
        UsageError: if no weights are named, or the file is missing or no safetensors file.
    """
    if not config.weights:
        raise UsageError(
            f"detection.weights: a detector checkpoint expected, none is set; {_HOW_TO}"
        )
    settings = {
        "preset": config.preset,
        "depth": config.depth,
        "width": config.width,
        "short_side": config.short_side,
        "proposals": config.proposals,
        "score_threshold": config.score_threshold,
        "nms_threshold": config.nms_threshold,
        "max_boxes": config.max_boxes,
    }
    if config.weights == RANDOM:
        return DetectorIdentity(f"{RANDOM}:{config.seed}", settings)
    path = _weights_path(config.weights)
    return DetectorIdentity(file_sha256(path), settings)


def load_detector(
    config: DetectionConfig, num_classes: int, device: torch.device | str
) -> Detector:
    """Build the configured detector with its weights, in eval mode, on a device.

    Raises:
        UsageError: if the weights do not fit the network.
    """
    detector = build_detector(
        num_classes=num_classes,
        depth=config.depth,
        width=config.width,
        preset=config.preset,
        short_side=config.short_side,
        proposals=config.proposals,
        score_threshold=config.score_threshold,
        nms_threshold=config.nms_threshold,
        max_boxes=config.max_boxes,
    )
    if config.weights == RANDOM:
        seed_weights(detector, config.seed)
    else:
        path = _weights_path(str(config.weights))
        try:
            load_state(detector, load_file(path))
        except (ValueError, OSError, SafetensorError) as error:
            raise UsageError(f"detection.weights: {path}: {error}") from error
    return detector.eval().requires_grad_(False).to(device)


def pick_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one; UsageError for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"device: auto, cpu or cuda[:N] expected, got {name!r}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"device: {name} asked for, but torch sees no CUDA device; use device=cpu")
    return device


def _weights_path(name: str) -> Path:
    path = Path(name)
    if not path.is_file():
        raise UsageError(f"detection.weights: a file expected, {path} is none; {_HOW_TO}")
    if path.suffix != ".safetensors":
        raise UsageError(
            f"detection.weights: a .safetensors file expected, got {path.name}; "
            "python -m tools.convert_weights turns a .pth into one"
        )
    return path
