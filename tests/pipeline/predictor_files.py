"""Weights files of small relation predictors."""

from pathlib import Path
from typing import Any

import torch

from pipeline.datasets.vocabulary import load_vocabulary
from pipeline.weights.cards import save_carded
from pipeline.weights.predictor_card import PredictorCard
from relations.settings import PredictorSettings
from relations.sttran import STTran

VOCABULARY = load_vocabulary("action_genome")


def small_settings(feature_width: int, union_channels: int) -> PredictorSettings:
    """Return settings of a small predictor for the vocabulary of Action Genome."""
    return PredictorSettings(
        feature_width=feature_width,
        union_channels=union_channels,
        part_width=8,
        union_width=4,
        class_width=4,
        position_width=4,
        object_width=8,
        decoder_layers=1,
        heads=4,
        feedforward=16,
    )


def predictor_file(
    path: Path, feature_width: int, union_channels: int, *, seed: int = 0, **card: Any
) -> Path:
    """Write random weights with a card and return the path."""
    torch.manual_seed(seed)
    settings = small_settings(feature_width, union_channels)
    given: dict[str, Any] = {
        "settings": settings,
        "objects": VOCABULARY.objects,
        "predicate_groups": VOCABULARY.predicate_groups,
        "detector": None,
        "origin": "made by a test",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_carded(path, STTran(settings).state_dict(), PredictorCard(**given | card))
    return path
