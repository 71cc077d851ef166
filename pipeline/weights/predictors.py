"""Relation predictors with weights, built from settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from pipeline.cache.folder import CacheInfo
from pipeline.cache.reader import ClipReader
from pipeline.cache.union_features import check_full_union
from pipeline.config.schema import RelationPredictorConfig
from pipeline.datasets.vocabulary import load_vocabulary
from pipeline.errors import UsageError
from pipeline.weights.cards import checked_sha256, read_tensors
from pipeline.weights.files import find_weights
from pipeline.weights.loading import build_with_weights
from pipeline.weights.predictor_card import PredictorCard
from relations.settings import PairGroups
from relations.sttran import STTran

SETTING = "relation_predictor.weights"
_HOW_TO = (
    "set relation_predictor.weights=FILE.safetensors (python -m tools.train_relations trains a "
    "predictor, python -m tools.convert_weights converts STTran's .tar)"
)


@dataclass(frozen=True)
class PredictorFile:
    """Checked weights file of a relation predictor.

    Attributes:
        path: path of the weights file.
        card: card of the weights. If the config sets `single_frame`, its value replaces
            `settings.single_frame`.
        sha256: SHA-256 of the weights file.
    """

    path: Path
    card: PredictorCard
    sha256: str

    def to_dict(self) -> dict[str, Any]:
        """Return everything that determines the results as a JSON-compatible dict."""
        return {"weights": self.sha256, "single_frame": self.card.settings.single_frame}


def find_predictor(config: RelationPredictorConfig) -> PredictorFile:
    """Find the configured weights and check them, without building the network.

    Raises:
        UsageError: if no weights are configured, or the file is missing, damaged, or not the
            weights of a relation predictor.
    """
    if not config.weights:
        raise UsageError(f"{SETTING}: not set; {_HOW_TO}")
    path = find_weights(config.weights, setting=SETTING, how_to=_HOW_TO)
    card = PredictorCard.read_header(path, SETTING)
    if card is None:
        raise UsageError(f"{SETTING}: {path}: weights of a relation predictor expected; {_HOW_TO}")
    if config.single_frame is not None:
        card = replace(
            card, settings=replace(card.settings, single_frame=config.single_frame.value)
        )
    return PredictorFile(path, card, checked_sha256(path, SETTING))


def check_predictor(
    card: PredictorCard,
    *,
    objects: tuple[str, ...],
    predicate_groups: Mapping[str, tuple[str, ...]],
    kinds: Sequence[PairGroups],
    detector: Mapping[str, Any],
    widths: tuple[int, int] | None,
    where: str,
) -> None:
    """Check that the vocabulary, features and detector of a predictor match a cache.

    Args:
        card: card of the predictor.
        objects: object classes of the cache.
        predicate_groups: predicates of the cache, by group.
        kinds: kinds of pairs of the cache (`Vocabulary.pair_groups`).
        detector: result of `ResolvedDetector.to_dict` for the cache's detector.
        widths: (F, Cu) of the cache's features, or None if they are unknown.
        where: path of the predictor's weights, used in error messages.

    Raises:
        UsageError: if the predictor does not match the cache. The message contains the first
            difference.
    """
    for what, ours, theirs in (
        ("object classes", list(objects), list(card.objects)),
        ("predicates", _flat(predicate_groups), _flat(card.predicate_groups)),
    ):
        if ours != theirs:
            first = next(
                (a, b) for a, b in zip([*ours, None], [*theirs, None], strict=False) if a != b
            )
            raise UsageError(
                f"{SETTING}: {where}: the {len(ours)} {what} of the cache expected, got "
                f"{len(theirs)}; first difference: {first[0]!r} in the cache, {first[1]!r} in the "
                "predictor"
            )
    known = card.settings.kinds
    if other := [kind for kind in kinds if kind not in known] if kinds else known:
        subject, classes, groups = other[0]
        prefix = "" if subject is None else f"{card.objects[subject]} - "
        raise UsageError(
            f"{SETTING}: {where}: a predictor trained on the kinds of pairs of the cache expected; "
            f"first difference: pairs {prefix}{card.objects[classes[0]]} with the groups "
            f"{', '.join(groups)}"
        )
    own = card.settings.feature_width, card.settings.union_channels
    if widths is not None and widths != own:
        raise UsageError(
            f"{SETTING}: {where}: box features of {widths[0]} and union features of {widths[1]} "
            f"channels expected (as in the detector), got a predictor for {own[0]} and "
            f"{own[1]} channels. Use a predictor trained on features of this detector"
        )
    if card.detector is not None and card.detector != detector.get("weights"):
        raise UsageError(
            f"{SETTING}: {where}: a predictor trained on features of the cache's detector "
            f"({str(detector.get('weights'))[:12]}...) expected, got a predictor trained on "
            f"features of {card.detector[:12]}..."
        )


def check_predictor_on_cache(file: PredictorFile, info: CacheInfo, clip: Path) -> None:
    """Check that a predictor fits a cache, see `check_predictor`.

    Args:
        file: weights file of the predictor.
        info: properties of the cache.
        clip: path of any clip of the cache. The widths of the features are read from it.

    Raises:
        UsageError: if the predictor does not fit, or the cache does not have full union features.
        ItemError: BAD_CACHE if the clip is damaged.
    """
    check_full_union(info, SETTING)
    empty, pairs = ClipReader(clip).read([]), info.settings.pairs
    vocabulary = load_vocabulary(info.settings.vocabulary) if pairs else None
    check_predictor(
        file.card,
        objects=info.objects,
        predicate_groups=info.predicate_groups,
        kinds=vocabulary.pair_groups(pairs) if vocabulary and pairs else (),
        detector=info.detector,
        widths=(empty.box_features.shape[1], empty.union_features.shape[1]),
        where=str(file.path),
    )


def load_predictor(file: PredictorFile, device: torch.device | str) -> STTran:
    """Build the network with its weights, in eval mode.

    Args:
        file: weights file of the predictor.
        device: device of the parameters.

    Raises:
        UsageError: if the weights do not fit the network of their card or are not finite.
    """
    state = read_tensors(file.path, SETTING)
    try:
        model = build_with_weights(lambda: STTran(file.card.settings), state)
    except ValueError as error:
        raise UsageError(f"{SETTING}: {file.path}: {error}") from error
    return model.eval().requires_grad_(False).to(device)


def _flat(groups: Mapping[str, tuple[str, ...]]) -> list[str]:
    return [f"{group}: {name}" for group, names in groups.items() for name in names]
