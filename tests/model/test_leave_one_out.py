import pytest
import torch

from model.leave_one_out import leave_one_out
from tests.model.batches import random_batch
from tests.model.test_laiar import PRESETS, drawn_mask, sequence_lengths, small


@pytest.mark.parametrize("discard", ["mask", "zero"])
@pytest.mark.parametrize("context", ["kept", "all"])
@pytest.mark.parametrize("preset", PRESETS)
def test_contribution_equals_logit_minus_logit_without_the_token(
    preset: str, context: str, discard: str
) -> None:
    model = small(preset, context=context, discard=discard)
    batch = random_batch(drawn_mask(5, 1, 4, 6))
    with torch.no_grad():
        output = model.recognize(batch, keep=batch.mask & drawn_mask(6, 1, 4, 6))
        lengths = sequence_lengths(model)
        contributions = leave_one_out(model, batch, output)
        assert lengths == [int(output.num_kept) if discard == "mask" else 25]
        assert 2 <= int(output.keep.sum()) < int(batch.mask.sum())
        for t in range(4):
            for k in range(6):
                if not output.keep[0, t, k]:
                    assert not contributions[t, k].any()
                    continue
                keep = output.keep.clone()
                keep[0, t, k] = False
                lost = output.logits[0] - model.recognize(batch, keep=keep).logits[0]
                torch.testing.assert_close(contributions[t, k], lost, atol=1e-5, rtol=1e-5)
    assert contributions.abs().max() > 1e-3


def test_several_videos_are_rejected_and_a_video_may_have_no_tokens() -> None:
    model, batch = small(), random_batch(drawn_mask(0, 2, 3, 4))
    with torch.no_grad(), pytest.raises(ValueError, match="one video"):
        leave_one_out(model, batch, model.recognize(batch))
    empty = random_batch(torch.zeros(1, 3, 0, dtype=torch.bool))
    with torch.no_grad():
        assert leave_one_out(model, empty, model.recognize(empty)).shape == (3, 0, 3)
