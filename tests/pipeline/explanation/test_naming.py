import math

import pytest
import torch

from pipeline.evaluation.names import all_groups
from pipeline.explanation.naming import TARGET, Trials, _summary, lower_bound


def trials(video: torch.Tensor, margin: torch.Tensor, right: torch.Tensor) -> Trials:
    known = torch.ones(len(right), 1, dtype=torch.bool)
    return Trials(video, margin, right, right, right, right[:, None], known)


def test_lower_bound_equals_plain_loops() -> None:
    g = torch.Generator().manual_seed(0)
    video, right = torch.randint(0, 7, (90,), generator=g), torch.rand(90, generator=g) < 0.8
    n = [sum(1 for v in video.tolist() if v == k) for k in range(7)]
    r = [
        sum(1 for v, x in zip(video.tolist(), right.tolist(), strict=True) if v == k and x)
        for k in range(7)
    ]
    p = sum(r) / 90
    variance = 7 / 6 * sum((r[k] - p * n[k]) ** 2 for k in range(7)) / 90**2
    count, z = min(p * (1 - p) / variance, 90), 1.645
    spread = z * math.sqrt(p * (1 - p) / count + z**2 / (4 * count**2))
    wanted = (p + z**2 / (2 * count) - spread) / (1 + z**2 / count)
    assert lower_bound(right, video) == pytest.approx(wanted, abs=1e-9)


def test_lower_bound_counts_videos_if_names_of_a_video_agree() -> None:
    right = torch.ones(1000, dtype=torch.bool)
    many, few = torch.arange(1000), torch.arange(1000) % 2
    assert lower_bound(right, many) > 0.99
    assert lower_bound(right, few) < 0.5
    assert lower_bound(right[:0], many[:0]) == 0.0
    for count, wrong in ((69, 6), (138, 12)):  # one video: the variance is 0 up to rounding
        assert lower_bound(torch.arange(count) >= wrong, many[:count] * 0) < 0.6


def test_lower_bound_is_below_the_true_share_in_95_percent_of_draws() -> None:
    """Names of a video are equally right here, so that videos count and names do not."""
    g = torch.Generator().manual_seed(1)
    video = torch.arange(60).repeat_interleave(10)
    below = 0
    for _ in range(300):
        right = (torch.rand(60, generator=g) < 0.8).repeat_interleave(10)
        below += lower_bound(right, video) <= 0.8
    assert 0.92 <= below / 300 <= 0.99


def test_threshold_is_the_smallest_margin_with_enough_right_names() -> None:
    g = torch.Generator().manual_seed(2)
    margin = torch.rand(4000, generator=g)
    right = torch.rand(4000, generator=g) < 0.6 + 0.4 * margin
    rows = _summary([trials(torch.arange(4000) // 8, margin, right)])
    threshold = rows["threshold"]
    # The share of right names above a margin m is 0.8 + 0.2 m.
    assert threshold == pytest.approx(0.55, abs=0.1)
    assert float(right[margin >= threshold].double().mean()) >= TARGET
    assert rows["accuracy"] == pytest.approx(float(right.double().mean()))
    wrong = _summary([trials(torch.arange(4000), margin, torch.zeros(4000, dtype=torch.bool))])
    assert wrong["threshold"] is None
    assert _summary([])["tokens"] == 0


def test_recall_is_the_mean_over_predicates() -> None:
    known = torch.tensor([[True, False], [True, True], [True, False], [False, True]])
    said = torch.tensor([[True, False], [True, False], [False, True], [False, True]])
    exact = (known == said).all(1)
    ones = torch.ones(4)
    rows = _summary([Trials(torch.arange(4), ones, exact, exact, exact, said, known)])
    assert rows["recall"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert rows["exact"] == pytest.approx(0.5)


def test_all_groups_ignores_groups_without_a_known_predicate() -> None:
    g = torch.Generator().manual_seed(3)
    known, right, exact = (torch.rand(3, 50, 3, generator=g) < 0.7).unbind()
    rows = [[k for k in range(3) if known[i, k]] for i in range(50)]
    tokens = [i for i in range(50) if rows[i]]
    share = [sum(all(c[i, k] for k in rows[i]) for i in tokens) for c in (right, exact)]
    total = len(tokens)
    assert all_groups(known, right, exact) == (total, share[0] / total, share[1] / total)
    assert all_groups(known[:0], right[:0], exact[:0]) == (0, None, None)
