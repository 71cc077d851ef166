"""Weights with a card: what is not stored, and which cards are refused."""

from pathlib import Path

import pytest
import torch

from pipeline.errors import StageError
from pipeline.weights.cards import save_carded
from pipeline.weights.predictor_card import PredictorCard
from tests.pipeline.predictor_files import VOCABULARY, small_settings


@pytest.mark.parametrize(("value", "half"), [(1e5, True), (torch.inf, False), (torch.nan, True)])
def test_numbers_that_are_none_as_stored_are_refused(
    tmp_path: Path, value: float, half: bool
) -> None:
    path = tmp_path / "w.safetensors"
    state = {"good": torch.ones(2), "bad": torch.tensor([0.0, value])}
    kind = "float16" if half else "float32"
    with pytest.raises(StageError, match=f"finite numbers of {kind} expected, those of bad"):
        save_carded(path, state, {}, half=half)
    assert list(tmp_path.iterdir()) == []
    save_carded(path, state | {"bad": torch.full((2,), 1e4)}, {}, half=half)
    assert path.is_file()


def test_a_card_names_each_group_once() -> None:
    card = PredictorCard(
        small_settings(8, 4), VOCABULARY.objects, VOCABULARY.predicate_groups, None, "a test"
    )
    tree = card.to_dict()
    assert PredictorCard.from_dict(tree) == card
    groups = tree["predicate_groups"]
    for others in ([*groups, groups[0]], [["spatial", []], *groups], groups[::-1], groups[:2]):
        with pytest.raises(ValueError, match="predicate groups attention, spatial, contacting"):
            PredictorCard.from_dict(tree | {"predicate_groups": others})
