"""detectron2 models as detectors, built from their YAML and weights files."""

import hashlib
import importlib.util
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from detection.detector import Detector
from detection.detectron2_parts import detector_from_detectron2
from pipeline.config.schema import DetectionConfig
from pipeline.errors import UsageError
from pipeline.weights.checkpoints import read_checkpoint

_HOW_TO = (
    "detection.backend=detectron2: the package detectron2 is not installed. Install it as "
    "described in its documentation: python -m pip install --no-build-isolation "
    "'git+https://github.com/facebookresearch/detectron2.git'; or leave the setting out and "
    "convert the weights with python -m tools.convert_weights"
)


def read_detectron2_config(config: DetectionConfig) -> Any:
    """Read a YAML file of detectron2 and override some of its settings.

    Args:
        config: settings with the path of detectron2's YAML file (`config.config`). `short_side`,
            `proposals`, `score_threshold`, `nms_threshold` and `max_boxes` override the settings in
            the file unless they are None.

    Returns:
        The resolved `CfgNode` of detectron2, on the CPU, without mask and keypoint heads.

    Raises:
        UsageError: if detectron2 is not installed, or the file is missing or not a detectron2
            config.
    """
    if importlib.util.find_spec("detectron2") is None:
        raise UsageError(_HOW_TO)
    path = Path(str(config.config))
    if not path.is_file():
        raise UsageError(f"detection.config: file not found: {path}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the import emits deprecation warnings
        from detectron2.config import get_cfg

        settings = get_cfg()
        try:
            settings.merge_from_file(str(path), allow_unsafe=False)
        except Exception as error:
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UsageError(
                f"detection.config: {path}: a config of detectron2 expected, but it cannot be "
                f"read: {first}"
            ) from error
    settings.MODEL.DEVICE = "cpu"
    settings.MODEL.MASK_ON = settings.MODEL.KEYPOINT_ON = False
    _put_over(settings, config)
    return settings


@dataclass(frozen=True)
class Detectron2Settings:
    """Resolved settings of a detectron2 model.

    Attributes:
        config: settings with the path of the YAML file and the values that override it.
        config_sha256: SHA-256 of all settings of detectron2 that determine results.
    """

    config: DetectionConfig = field(compare=False)
    config_sha256: str

    @classmethod
    def read(cls, config: DetectionConfig) -> "Detectron2Settings":
        """Read the YAML file, see `read_detectron2_config`."""
        cfg = read_detectron2_config(config)
        cfg.MODEL.WEIGHTS = cfg.OUTPUT_DIR = ""
        return cls(config, hashlib.sha256(cfg.dump().encode()).hexdigest())

    @classmethod
    def find(cls, config_sha256: str, config: DetectionConfig) -> "Detectron2Settings":
        """Read the YAML file and check the SHA-256 of its settings.

        Raises:
            UsageError: if the settings cannot be read, or if their SHA-256 is not `config_sha256`.
        """
        found = cls.read(config)
        if found.config_sha256 != config_sha256:
            raise UsageError(
                "detection.config: the detectron2 settings of the training run expected, got "
                f"different settings in {config.config}"
            )
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return everything that determines the results as a JSON-compatible dict."""
        return {"backend": "detectron2", "config_sha256": self.config_sha256}

    def load(self, num_classes: int, weights: Path, device: torch.device | str) -> Detector:
        """Build the detector with its weights, in eval mode.

        The weights file is read without running code in the file.

        Args:
            num_classes: number of object classes O.
            weights: path of a .pkl or .pth file of detectron2.
            device: device of the parameters.

        Raises:
            UsageError: if the YAML file sets another number of classes, the weights do not fit the
                network, or
                the type of the heads is not supported.
        """
        cfg = read_detectron2_config(self.config)
        found = cfg.MODEL.ROI_HEADS.NUM_CLASSES
        if found != num_classes:
            raise UsageError(
                f"detection.config: MODEL.ROI_HEADS.NUM_CLASSES {num_classes} expected (the "
                f"vocabulary's object classes), got {found}"
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from detectron2.modeling import build_model

            try:
                model = build_model(cfg).eval()
                detector = detector_from_detectron2(model, cfg)
            except (ValueError, KeyError, AttributeError, RuntimeError) as error:
                raise UsageError(f"detection.config: {self.config.config}: {error}") from error
        state = read_checkpoint(weights)
        own = model.state_dict()
        # Files also contain constants that the model computes itself, and disabled heads' weights.
        extra = sorted(
            name
            for name in state.keys() - own.keys()
            if not name.startswith(("pixel_", "roi_heads.mask_head", "roi_heads.keypoint_head"))
            and "anchor_generator" not in name
        )
        missing = sorted(own.keys() - state.keys())
        wrong = sorted(n for n in own.keys() & state.keys() if own[n].shape != state[n].shape)
        for what, names in (("missing", missing), ("unexpected", extra), ("of wrong shape", wrong)):
            if names:
                raise UsageError(
                    f"detection.weights: {weights}: {len(own)} tensors of this network expected, "
                    f"got {len(state)}; {len(names)} {what}, the first is {names[0]!r}"
                )
        model.load_state_dict({name: state[name] for name in own})
        return detector.eval().requires_grad_(False).to(device)


def _put_over(settings: Any, config: DetectionConfig) -> None:
    if config.short_side is not None:
        ratio = config.short_side / settings.INPUT.MIN_SIZE_TEST
        settings.INPUT.MAX_SIZE_TEST = round(settings.INPUT.MAX_SIZE_TEST * ratio)
        settings.INPUT.MIN_SIZE_TEST = config.short_side
    if config.proposals is not None:
        settings.MODEL.RPN.POST_NMS_TOPK_TEST = config.proposals
    if config.score_threshold is not None:
        settings.MODEL.ROI_HEADS.SCORE_THRESH_TEST = config.score_threshold
    if config.nms_threshold is not None:
        settings.MODEL.ROI_HEADS.NMS_THRESH_TEST = config.nms_threshold
    if config.max_boxes is not None:
        settings.TEST.DETECTIONS_PER_IMAGE = config.max_boxes
