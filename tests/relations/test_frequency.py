import pytest
import torch

from relations.frequency import FrequencyBaseline


def test_frequencies_are_counted_per_object_class() -> None:
    baseline = FrequencyBaseline(4, 3)
    labels = torch.tensor([1, 1, 2, 1])
    said = torch.tensor([[1.0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 0]])
    baseline.add(labels, said)
    found = baseline.predict(torch.tensor([1, 2, 3]))
    assert found[0].tolist() == [1.0, 0.0, 0.5]  # the fourth pair is unknown
    assert found[1].tolist() == [0.0, 1.0, 0.0]
    assert torch.allclose(found[2], torch.tensor([2 / 3, 1 / 3, 1 / 3]))


def test_prediction_without_counted_pairs_is_rejected() -> None:
    baseline = FrequencyBaseline(2, 3)
    baseline.add(torch.tensor([1]), torch.zeros(1, 3))
    assert baseline.num_pairs == 0
    with pytest.raises(ValueError, match="counted pairs expected"):
        baseline.predict(torch.tensor([0, 1]))
