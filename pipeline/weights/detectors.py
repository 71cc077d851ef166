"""From the config to a detector that carries weights, and to its identity."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from detection.build import NetworkSize, build_detector, seed_weights
from detection.detector import Detector
from detection.fast import make_fast
from detection.presets import PRESETS
from detection.weights import load_state
from pipeline.config.schema import DetectionConfig, DetectorBackend, Mode
from pipeline.errors import UsageError
from pipeline.runtime.files import file_sha256
from pipeline.weights.cards import checked_sha256
from pipeline.weights.detector_card import read_detector_card, read_detector_state
from pipeline.weights.detectron2_backend import detectron2_identity, load_detectron2

RANDOM = "random"
_FOREIGN = (".pkl", ".pth")
ROOT = Path(__file__).resolve().parent.parent.parent
_DEFAULTS: dict[str, Any] = {"preset": "action-genome"} | asdict(NetworkSize())
_IDENTITY = (
    *_DEFAULTS,
    *(
        "mode",
        "compile",
        "short_side",
        "proposals",
        "score_threshold",
        "nms_threshold",
        "max_boxes",
    ),
)
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
        settings: preset, sizes and thresholds, as resolved.
    """

    weights: str
    settings: dict[str, Any]

    @property
    def is_random(self) -> bool:
        """Whether the weights are untrained."""
        return self.weights.startswith(f"{RANDOM}:")

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {"weights": self.weights, **self.settings}


def resolve_detection(config: DetectionConfig) -> DetectionConfig:
    """The same settings with every None replaced: by the weights' card, else by the defaults.

    Raises:
        UsageError: if the weights are missing or damaged, or a setting contradicts their card.
    """
    card = None
    if config.weights and config.weights != RANDOM:
        card = read_detector_card(weights_path(config.weights))
    given = asdict(config)
    for name in ("preset", "depth", "width", "fpn_channels", "head_width", "anchor_scale"):
        said = getattr(card, name) if card else None
        if None not in (given[name], said) and given[name] != said:
            raise UsageError(
                f"detection.{name}: {said} expected by the card of {config.weights}, got "
                f"{given[name]}; leave the setting out"
            )
        if given[name] is None:
            given[name] = said if card else _DEFAULTS[name]
    preset = PRESETS[given["preset"]]
    if given["short_side"] is None and card:
        given["short_side"] = card.short_side
    for name, default in (
        ("short_side", preset.pixels.short_side),
        ("proposals", preset.proposals.post_nms),
        ("score_threshold", preset.selection.score_threshold),
        ("nms_threshold", preset.selection.nms_threshold),
        ("max_boxes", preset.selection.max_boxes),
    ):
        if given[name] is None:
            given[name] = default
    return DetectionConfig(**given)


def mode_of(config: DetectionConfig) -> Mode:
    """How a detector of ours computes; see `DetectionConfig.mode`."""
    return Mode.folded if config.mode is None else config.mode


def detector_identity(config: DetectionConfig) -> DetectorIdentity:
    """Identity of the configured detector, without building it.

    Raises:
        UsageError: if no weights are named, or the file is missing or no safetensors file.
    """
    if not config.weights:
        raise UsageError(
            f"detection.weights: a detector checkpoint expected, none is set; {_HOW_TO}"
        )
    if config.backend is DetectorBackend.detectron2:
        settings = detectron2_identity(config)
        return DetectorIdentity(file_sha256(weights_path(config.weights, _FOREIGN)), settings)
    found = resolve_detection(config)
    resolved = asdict(found) | {"mode": mode_of(found).value}
    settings = {name: resolved[name] for name in _IDENTITY}
    if config.weights == RANDOM:
        return DetectorIdentity(f"{RANDOM}:{config.seed}", settings)
    return DetectorIdentity(
        checked_sha256(weights_path(config.weights), "detection.weights"), settings
    )


def detection_of(tree: Mapping[str, Any], given: DetectionConfig) -> DetectionConfig:
    """Settings that give the detector of an identity, with the files and batch size given.

    Args:
        tree: of `DetectorIdentity.to_dict`.
        given: `weights`, `config` and `batch_size` are taken.
    """
    known = dict(tree)
    trained_on = str(known.pop("weights", ""))
    is_random = trained_on.startswith(f"{RANDOM}:")
    files: dict[str, Any] = {
        "weights": given.weights or (RANDOM if is_random else None),
        "batch_size": given.batch_size,
    }
    if known.pop("backend", None) == DetectorBackend.detectron2.value:
        foreign = DetectorBackend.detectron2
        return DetectionConfig(**files, backend=foreign, config=given.config)
    known["mode"] = Mode[known.get("mode", Mode.exact.value)]
    files["seed"] = int(trained_on.removeprefix(f"{RANDOM}:")) if is_random else 0
    return DetectionConfig(**known, **files)


def load_detector(
    config: DetectionConfig, classes: Sequence[str], device: torch.device | str
) -> Detector:
    """Build the configured detector with its weights, in eval mode, on a device.

    Args:
        config: the settings.
        classes: names of the O object classes that the caller will read labels as.
        device: where to put it.

    Raises:
        UsageError: if the weights do not fit the network, or are of other classes.
    """
    if config.backend is DetectorBackend.detectron2:
        path = weights_path(str(config.weights), _FOREIGN)
        return load_detectron2(config, len(classes), path, device)
    config = resolve_detection(config)
    if config.weights == RANDOM:
        detector = build_configured(config, len(classes))
        seed_weights(detector, config.seed)
    else:
        path = weights_path(str(config.weights))
        card = read_detector_card(path)
        if card is not None:
            check_classes(card.classes, classes, str(path))
        state = read_detector_state(path)
        try:
            with torch.device("meta"):  # a card that lies must not take memory
                load_state(build_configured(config, len(classes)), state, only_check=True)
            detector = build_configured(config, len(classes))
            load_state(detector, state)
        except ValueError as error:
            raise UsageError(f"detection.weights: {path}: {error}") from error
    detector.eval().requires_grad_(False).to(device)
    mode = mode_of(config)
    if mode is not Mode.exact:
        make_fast(
            detector,
            dtype=torch.bfloat16 if mode is Mode.fast else torch.float32,
            compile_trunk=config.compile,
        )
    return detector


def build_configured(config: DetectionConfig, num_classes: int) -> Detector:
    """The network of resolved settings, without weights."""
    return build_detector(
        num_classes=num_classes,
        preset=str(config.preset),
        size=network_size(config),
        short_side=config.short_side,
        proposals=config.proposals,
        score_threshold=config.score_threshold,
        nms_threshold=config.nms_threshold,
        max_boxes=config.max_boxes,
    )


def network_size(config: DetectionConfig) -> NetworkSize:
    """Sizes of resolved settings."""
    return NetworkSize(**{f.name: getattr(config, f.name) for f in fields(NetworkSize)})


def feature_widths(config: DetectionConfig) -> tuple[int, int] | None:
    """(F, Cu) of the configured detector's features; None with detectron2's own configs."""
    if config.backend is DetectorBackend.detectron2:
        return None
    resolved = resolve_detection(config)
    size = network_size(resolved)
    if PRESETS[str(resolved.preset)].network == "c4":
        return 32 * size.width, 16 * size.width
    return size.head_width, size.fpn_channels


def check_classes(found: Sequence[str], expected: Sequence[str], where: str) -> None:
    """UsageError unless both name the same object classes in the same order."""
    if list(found) == list(expected):
        return
    rows = [i for i, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b]
    first = rows[0] if rows else min(len(found), len(expected))
    names = [repr(list(x)[first]) if first < len(x) else "nothing" for x in (expected, found)]
    raise UsageError(
        f"detection.weights: {where}: {len(expected)} object classes of the vocabulary expected, "
        f"got {len(found)}; class {first} is {names[1]}, not {names[0]}"
    )


def pick_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one; UsageError for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"device: auto, cpu or cuda[:N] expected, got {name!r}") from error
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"device: auto, cpu or cuda[:N] expected, got {name!r}")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"device: {name} asked for, but torch sees no CUDA device; use device=cpu")
    return device


def pick_devices(names: str) -> list[torch.device]:
    """Devices of a comma-separated list; see `pick_device`."""
    return [pick_device(name.strip()) for name in names.split(",")]


def weights_path(name: str, suffixes: Sequence[str] = (".safetensors",)) -> Path:
    """The weights file; a relative name counts from here, else from the repository's root.

    Raises:
        UsageError: if there is none, or its suffix is another.
    """
    path = Path(name)
    if not path.is_absolute() and not path.is_file() and (ROOT / path).is_file():
        path = ROOT / path
    if not path.is_file():
        raise UsageError(f"detection.weights: a file expected, {path} is none; {_HOW_TO}")
    if path.suffix not in suffixes:
        raise UsageError(
            f"detection.weights: a file that ends in {' or '.join(suffixes)} expected, got "
            f"{path.name}; python -m tools.convert_weights turns a .pth or .pkl into .safetensors"
        )
    return path
