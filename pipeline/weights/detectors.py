"""Detectors with weights, built from settings."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from detection.build import NetworkSize, build_detector, seed_weights
from detection.detector import Detector
from detection.fast import make_fast
from detection.presets import PRESETS
from pipeline.config.ranges import check_values
from pipeline.config.schema import DetectionConfig, DetectorBackend, Mode
from pipeline.config.typed_json import TypedJson
from pipeline.errors import UsageError
from pipeline.runtime.files import file_sha256
from pipeline.weights.cards import checked_sha256, read_tensors
from pipeline.weights.class_names import class_columns, first_difference
from pipeline.weights.detector_card import DetectorCard
from pipeline.weights.detectron2_backend import Detectron2Settings
from pipeline.weights.files import find_weights
from pipeline.weights.loading import build_with_weights

LOGGER = logging.getLogger(__name__)

SETTING = "detection.weights"
RANDOM = "random"
_HOW_TO = (
    "set detection.weights=FILE.safetensors (python -m tools.convert_weights converts Action "
    "Genome's faster_rcnn_ag.pth), or detection.weights=random for an untrained detector"
)


@dataclass(frozen=True)
class NetworkSettings(TypedJson):
    """Resolved settings of a `Detector` built by `build_detector`.

    Attributes:
        preset: key in `detection.presets.PRESETS`.
        depth, width, fpn_channels, head_width, anchor_scale: see `detection.build.NetworkSize`.
        mode: `exact`, `folded` or `fast`, see `DetectionConfig.mode`.
        compile: if True, the backbone is compiled with torch.compile.
        short_side: length in pixels to which the short side of a frame is scaled.
        proposals, max_boxes: maximum numbers of proposals and boxes per frame.
        score_threshold, nms_threshold: see `detection.presets.Selection`.

    Raises:
        ValueError: if a size of the network is invalid, see `NetworkSize`.
        UsageError: if another setting is out of range, see `DetectionConfig`.
    """

    preset: str
    depth: int
    width: int
    fpn_channels: int
    head_width: int
    anchor_scale: float
    mode: Mode
    compile: bool
    short_side: int
    proposals: int
    score_threshold: float
    nms_threshold: float
    max_boxes: int

    def __post_init__(self) -> None:
        check_values(DetectionConfig, vars(self))
        _ = self.size

    @property
    def size(self) -> NetworkSize:
        """Sizes of the network."""
        return NetworkSize(**{f.name: getattr(self, f.name) for f in fields(NetworkSize)})

    @property
    def feature_widths(self) -> tuple[int, int]:
        """(F, Cu), the width of the box features and the channels of the union features."""
        if PRESETS[self.preset].network == "c4":
            return 32 * self.width, 16 * self.width
        return self.head_width, self.fpn_channels

    def build(self, num_classes: int) -> Detector:
        """Build the network without trained weights."""
        return build_detector(
            num_classes=num_classes,
            preset=self.preset,
            size=self.size,
            short_side=self.short_side,
            proposals=self.proposals,
            score_threshold=self.score_threshold,
            nms_threshold=self.nms_threshold,
            max_boxes=self.max_boxes,
        )


@dataclass(frozen=True)
class NoNetwork(TypedJson):
    """Settings of a cache without features, which no detector has made."""


@dataclass(frozen=True)
class ResolvedDetector:
    """Detector whose settings are resolved and whose weights file exists.

    `weights` and `settings` together determine all results of the detector.

    Attributes:
        weights: SHA-256 of the weights file, `random:SEED`, or `none` without a detector.
        path: path of the weights file, or None for random weights and without a detector.
        settings: settings of the network.
    """

    weights: str
    path: Path | None = field(compare=False)
    settings: NetworkSettings | Detectron2Settings | NoNetwork

    @property
    def is_random(self) -> bool:
        """Whether the weights are untrained."""
        return self.weights.startswith(RANDOM)

    @property
    def feature_widths(self) -> tuple[int, int] | None:
        """(F, Cu) of the features, or None for a detectron2 model.

        The widths of a detectron2 model are known only after `load`.
        """
        settings = self.settings
        if isinstance(settings, NoNetwork):
            return 0, 0
        return settings.feature_widths if isinstance(settings, NetworkSettings) else None

    def to_dict(self) -> dict[str, Any]:
        """Return everything that determines the results as a JSON-compatible dict."""
        return {"weights": self.weights, **self.settings.to_dict()}

    def load(
        self,
        classes: Sequence[str],
        device: torch.device | str,
        aliases: Mapping[str, str] | None = None,
    ) -> Detector:
        """Build the detector with its weights, in eval mode.

        Args:
            classes: names of the O object classes, in the order of the labels.
            device: device of the parameters.
            aliases: names of the classes in other detectors (`Vocabulary.aliases`). If there are
                any, a detector of other classes returns these classes (`Detector.map_classes`).

        Raises:
            UsageError: if the weights do not fit the network, the classes of their card are not
                `classes`, or there is no detector.
        """
        settings = self.settings
        columns: tuple[int, ...] | None = None
        if isinstance(settings, NoNetwork):
            raise UsageError(f"{SETTING}: a detector expected; {_HOW_TO}")
        if isinstance(settings, Detectron2Settings):
            assert self.path is not None
            return settings.load(len(classes), self.path, device)
        if self.path is None:
            detector = settings.build(len(classes))
            seed_weights(detector, int(self.weights.removeprefix(f"{RANDOM}:")))
        else:
            card = DetectorCard.read_header(self.path, SETTING)
            num_classes = len(classes)
            if card is not None:
                columns = _columns(card, classes, aliases or {}, self.path)
                num_classes = len(card.classes)
            state = read_tensors(self.path, SETTING)
            try:
                detector = build_with_weights(lambda: settings.build(num_classes), state)
            except ValueError as error:
                raise UsageError(f"{SETTING}: {self.path}: {error}") from error
        detector.eval().requires_grad_(False).to(device)
        if columns is not None:
            detector.map_classes(columns, len(classes))
        if settings.mode is not Mode.exact:
            dtype = torch.bfloat16 if settings.mode is Mode.fast else torch.float32
            make_fast(detector, dtype=dtype, compile_trunk=settings.compile)
        return detector


#: Description of a cache without features.
NO_DETECTOR = ResolvedDetector("none", None, NoNetwork())


def _columns(
    card: DetectorCard, classes: Sequence[str], aliases: Mapping[str, str], path: Path
) -> tuple[int, ...] | None:
    """Return the class of the vocabulary of each class of a detector; None if they are the same."""
    if not aliases or first_difference(card.classes, classes) is None:
        check_classes(card.classes, classes, str(path))
        return None
    columns = class_columns(card.classes, classes, aliases)
    if max(columns) < 0:
        raise UsageError(
            f"{SETTING}: {path}: at least one class of the vocabulary expected, got "
            f"{', '.join(card.classes[:5])}, ...; add aliases to the vocabulary"
        )
    if unseen := [name for index, name in enumerate(classes) if index not in columns]:
        LOGGER.warning("%s cannot detect: %s", path.name, ", ".join(unseen))
    return columns


def resolve_detector(config: DetectionConfig) -> ResolvedDetector:
    """Resolve the settings of a detector and find its weights, without building the network.

    Raises:
        UsageError: if no weights are configured, the file is missing or damaged, or a setting
            contradicts the card of the weights.
    """
    if not config.weights:
        raise UsageError(f"{SETTING}: not set; {_HOW_TO}")
    if config.backend is DetectorBackend.detectron2:
        foreign = Detectron2Settings.read(config)
        path = find_detector_weights(config.weights, (".pkl", ".pth"))
        return ResolvedDetector(file_sha256(path), path, foreign)
    settings = resolve_network(config)
    if config.weights == RANDOM:
        return ResolvedDetector(f"{RANDOM}:{config.seed}", None, settings)
    path = find_detector_weights(config.weights)
    return ResolvedDetector(checked_sha256(path, SETTING), path, settings)


def resolve_network(config: DetectionConfig) -> NetworkSettings:
    """Resolve the settings of a network.

    Settings that are None get their value from the card of the weights. If the card has no such
    value, the default is used.

    Raises:
        UsageError: if the weights are missing or damaged, or a setting contradicts their card.
    """
    card = None
    if config.weights and config.weights != RANDOM:
        card = DetectorCard.read_header(find_detector_weights(config.weights), SETTING)
    given = asdict(config)
    for name, default in {"preset": "action-genome", **asdict(NetworkSize())}.items():
        found = getattr(card, name) if card else None
        if None not in (given[name], found) and given[name] != found:
            raise UsageError(
                f"detection.{name}: {found} expected (card of {config.weights}), got "
                f"{given[name]}. Leave the setting out"
            )
        if given[name] is None:
            given[name] = found if card else default
    preset = PRESETS[given["preset"]]
    defaults = {
        "mode": Mode.folded,
        "short_side": (card.short_side if card else None) or preset.pixels.short_side,
        "proposals": preset.proposals.post_nms,
        "score_threshold": preset.selection.score_threshold,
        "nms_threshold": preset.selection.nms_threshold,
        "max_boxes": preset.selection.max_boxes,
    }
    given |= {name: value for name, value in defaults.items() if given[name] is None}
    return NetworkSettings(**{f.name: given[f.name] for f in fields(NetworkSettings)})


def find_described_detector(
    described: Mapping[str, Any], given: DetectionConfig
) -> ResolvedDetector:
    """Find the detector that was used for a cache or for training a network.

    Args:
        described: description of this detector, from `ResolvedDetector.to_dict`.
        given: settings that contain the paths of the detector's files.

    Raises:
        UsageError: if the files are missing or belong to another detector, or if the description is
            invalid.
    """
    known = {"mode": Mode.exact.name, "compile": False, **described}
    wanted = known.pop("weights", None)
    settings: NetworkSettings | Detectron2Settings
    try:
        if not isinstance(wanted, str):
            raise ValueError("weights: a string expected")
        if known.get("backend") == DetectorBackend.detectron2.value:
            settings = Detectron2Settings.find(str(known.get("config_sha256")), given)
            suffixes: tuple[str, ...] = (".pkl", ".pth")
        else:
            settings, suffixes = NetworkSettings.from_dict(known), (".safetensors",)
    except ValueError as error:
        raise UsageError(
            f"model.json: cache.detector: {error}. Restore the file, or train again"
        ) from error
    if wanted.startswith(f"{RANDOM}:") and given.weights in (None, RANDOM):
        return ResolvedDetector(wanted, None, settings)
    if given.weights in (None, RANDOM):
        raise UsageError(
            f"{SETTING}: the detector weights of the training run expected (SHA-256 {wanted}), got "
            f"{given.weights}; {_HOW_TO}"
        )
    try:
        path = find_detector_weights(str(given.weights), suffixes)
    except UsageError as error:
        raise UsageError(f"{error} (the run used the weights with SHA-256 {wanted})") from error
    found = checked_sha256(path, SETTING)
    if found != wanted:
        raise UsageError(
            f"{SETTING}: the detector of the training run ({wanted}) expected, got {found}. A "
            "network requires the features of the detector that was used for its training"
        )
    return ResolvedDetector(wanted, path, settings)


def find_detector_weights(name: str, suffixes: Sequence[str] = (".safetensors",)) -> Path:
    """Find the weights file of a detector, see `find_weights`."""
    return find_weights(name, setting=SETTING, how_to=_HOW_TO, suffixes=suffixes)


def check_classes(found: Sequence[str], expected: Sequence[str], where: str) -> None:
    """Check that two lists of object classes are equal, apart from the spelling of the names.

    Args:
        found: classes of the weights.
        expected: classes of the vocabulary.
        where: path of the weights, used in error messages.

    Raises:
        UsageError: if the two lists differ. The message contains the first difference.
    """
    first = first_difference(found, expected)
    if first is None:
        return
    names = [repr(list(x)[first]) if first < len(x) else "none" for x in (expected, found)]
    raise UsageError(
        f"{SETTING}: {where}: {len(expected)} object classes of the vocabulary expected, "
        f"got {len(found)}; class {first}: {names[0]} expected, got {names[1]}"
    )
