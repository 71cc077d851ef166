from dataclasses import replace

import pytest
import torch
from torch import Tensor

from model.build import build_laiar
from model.clip_feature import ClipReadout
from model.criterion import CriterionSettings, LaIARCriterion
from model.laiar import LaIAR
from model.settings import LaIARSettings
from model.tokens import TokenBatch
from tests.model.batches import GROUPS, random_batch

WIDTH = 5


def network(preset: str, clip_width: int = WIDTH) -> LaIAR:
    torch.manual_seed(0)
    return build_laiar(
        num_classes=3,
        num_objects=5,
        group_sizes=GROUPS,
        box_features=12,
        union_channels=6,
        settings=LaIARSettings(preset, dim=16, layers=1, heads=2, part_width=8, union_width=4),
        num_labels=4,
        clip_width=clip_width,
    )


def batch(seed: int = 0) -> TokenBatch:
    features = torch.randn(2, WIDTH, generator=torch.Generator().manual_seed(seed))
    return replace(random_batch(torch.ones(2, 3, 2, dtype=torch.bool)), clip_features=features)


def slow_term(model: LaIAR, features: Tensor) -> list[list[float]]:
    """Compute W LN(f) with plain loops."""
    assert model.clip is not None
    weight, found = model.clip.weight.tolist(), []
    for row in features.tolist():
        mean = sum(row) / len(row)
        scale = (sum((x - mean) ** 2 for x in row) / len(row) + 1e-5) ** -0.5
        found.append(
            [sum(w * (x - mean) * scale for w, x in zip(c, row, strict=True)) for c in weight]
        )
    return found


@pytest.mark.parametrize("preset", ["strict", "paper"])
def test_clip_feature_adds_its_term_to_the_logits_of_the_video_branch(preset: str) -> None:
    model, plain, data = network(preset).eval(), network(preset, 0).eval(), batch()
    names = set(model.state_dict()) - set(plain.state_dict())
    assert names == {"clip.weight"}
    for name, value in plain.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name
    with torch.no_grad():
        before = plain.recognize(data)
        assert torch.equal(model.recognize(data).logits, before.logits)  # W starts at zero
        assert before.clip_logits is None
        assert model.clip is not None
        model.clip.weight.normal_()
        after, language = model.recognize(data), model.read_relations(data)
        assert torch.equal(language.logits, plain.read_relations(data).logits)
        kept = model.recognize(data, keep=data.mask & False, gather=True)
    assert data.clip_features is not None
    expected = torch.tensor(slow_term(model, data.clip_features))
    assert after.clip_logits is not None
    torch.testing.assert_close(after.clip_logits, expected)
    torch.testing.assert_close(after.logits - before.logits, expected)
    assert kept.clip_logits is not None
    assert torch.equal(kept.clip_logits, after.clip_logits)  # also without any token


@pytest.mark.parametrize("preset", ["strict", "paper"])
def test_video_loss_alone_trains_the_readout_of_clip_features(preset: str) -> None:
    model, data = network(preset), batch()
    terms = LaIARCriterion(CriterionSettings())(
        model(data, keep=data.mask), torch.eye(3)[:2], data, model.log_scale
    )
    video = _gradients(model, terms.pop("video"))
    used = [name for name, value in video.items() if value is not None]
    assert "clip.weight" in used
    assert (used == ["clip.weight"]) is (preset == "strict")  # with reading, L_v trains it alone
    assert _gradients(model, torch.stack([*terms.values()]).sum())["clip.weight"] is None
    assert model.clip is not None
    parts = [names for names in map(set, model.parts()) if model.clip.weight in names]
    assert [names == {model.clip.weight} for names in parts] == [preset == "strict"]


def _gradients(model: LaIAR, loss: Tensor) -> dict[str, Tensor | None]:
    names, values = zip(*model.named_parameters(), strict=True)
    if not loss.requires_grad:
        return dict.fromkeys(names)
    found = torch.autograd.grad(loss, values, retain_graph=True, allow_unused=True)
    return dict(zip(names, found, strict=True))


def test_labels_of_actions_that_only_the_clip_shows_are_unknown() -> None:
    model, data = network("strict"), batch()
    with torch.no_grad():
        outputs = model(data, keep=data.mask)
    criterion = LaIARCriterion(CriterionSettings())
    whole = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    subset = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, float("nan")]])
    known = torch.tensor([[1.0, float("nan"), 0.0], [0.0, 0.0, float("nan")]])
    expected = criterion(outputs, known, data, model.log_scale.detach())["video"]
    torch.testing.assert_close(criterion.clip_loss(outputs, subset, whole), expected)
    assert float(criterion(outputs, subset, data, model.log_scale.detach())["video"]) != float(
        expected
    )


def test_missing_or_wrong_clip_features_are_rejected() -> None:
    model, data = network("strict").eval(), batch()
    for bad in (None, torch.zeros(2, 4)):
        with pytest.raises(ValueError, match=r"clip_features: \(B, 5\) expected"):
            model.recognize(replace(data, clip_features=bad))
    with pytest.raises(ValueError, match=r"clip_features: \(2, W\) expected"):
        replace(data, clip_features=torch.zeros(3, 5))
    assert torch.isfinite(ClipReadout(4, 2)(torch.zeros(1, 4))).all()  # a constant vector
