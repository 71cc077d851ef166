"""Checksums in the names of published weights, and settings of the files that are known."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

from pipeline.errors import UsageError

#: Beginning of the checksum at the end of a file name: SHA-256 for torchvision, MD5 for detectron2.
_NAMES = {
    "sha256": re.compile(r"[a-z0-9_]+-([0-9a-f]{8})\.pth"),
    "md5": re.compile(r"model_final_([0-9a-f]{6})\.pkl"),
}
#: Checksums of detectron2's Faster R-CNN of COCO-Detection: R50-C4 and R50-FPN with the schedules
#: 1x and 3x, R101-C4 and R101-FPN.
_DETECTRON2 = ("721ade", "b275ba", "f97cb7", "280758", "298dad", "f6e8b1")
#: Checksum of torchvision's fasterrcnn_resnet50_fpn_coco.
_TORCHVISION = "258fb6c6"


@dataclass(frozen=True)
class Published:
    """Settings of a published detector.

    Attributes:
        classes: names of its object classes, without background.
        norm_epsilon: epsilon of batch normalisation in its network.
    """

    classes: tuple[str, ...]
    norm_epsilon: float


def check_name(path: Path) -> Published | None:
    """Compare a file with the checksum in its name.

    Args:
        path: weights file.

    Returns:
        The settings of the published detector with this checksum, or None for other files.

    Raises:
        UsageError: if the checksum of the file is not the one in its name.
    """
    for algorithm, pattern in _NAMES.items():
        match = pattern.fullmatch(path.name)
        if match is None:
            continue
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, algorithm).hexdigest()
        if not found.startswith(match[1]):
            raise UsageError(
                f"{path}: {algorithm} {match[1]}… expected, as in the name of the file, got "
                f"{found[:16]}…; download it again"
            )
        return _known(match[1])
    return None


def _known(digits: str) -> Published | None:
    if digits in _DETECTRON2:
        used = [name for name in coco_classes() if not name.startswith("unused")]
        return Published(tuple(used), norm_epsilon=1e-5)
    if digits == _TORCHVISION:
        return Published(coco_classes(), norm_epsilon=0.0)
    return None


def coco_classes() -> tuple[str, ...]:
    """Return the names of COCO's object ids 1 to 90; the name of an unused id is `unused ID`."""
    names = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"][1:]
    return tuple(
        f"unused {number}" if name == "N/A" else name for number, name in enumerate(names, 1)
    )
