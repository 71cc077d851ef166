from dataclasses import asdict, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from relations.measure import measure_predictor
from relations.pair_batch import PairBatch, join_pairs
from relations.settings import PredictorSettings
from relations.sttran import STTran
from tests.relations.predictor_maker import SMALL, random_pairs, small_predictor
from tools.proofs.benchmarks.original_relations import predict_as_original

COUNTS = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=4), min_size=1, max_size=3)


def run(model: STTran, batch: PairBatch) -> Tensor:
    with torch.inference_mode():
        return model(batch).probabilities()


@settings(max_examples=30, deadline=None)
@given(COUNTS)
def test_videos_of_a_batch_are_independent(counts: list[list[int]]) -> None:
    model = small_predictor()
    videos = [random_pairs([video], seed) for seed, video in enumerate(counts)]
    together = run(model, join_pairs(videos))
    alone = torch.cat([run(model, video) for video in videos])
    assert torch.allclose(together, alone, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=2, max_size=6), st.integers(0, 99))
def test_output_equals_loops_over_frames_and_windows(counts: list[int], seed: int) -> None:
    model, video = small_predictor(seed=seed), random_pairs([counts], seed)
    with torch.inference_mode():
        theirs, ours = predict_as_original(model, video), model(video)
    for name in ("spatial_features", "temporal_features"):
        assert torch.allclose(getattr(ours, name), getattr(theirs, name), atol=1e-5)
    for name in ("attention", "spatial", "contacting"):
        assert torch.allclose(ours.groups[name], theirs.groups[name], atol=1e-5)


def test_order_of_pairs_in_a_frame_does_not_change_predictions() -> None:
    model, video = small_predictor(), random_pairs([[3, 4, 2]])
    order = torch.tensor([2, 0, 1, 5, 3, 6, 4, 8, 7])
    names = ("pairs", "union_features", "spatial_masks")
    mixed = replace(video, **{name: getattr(video, name)[order] for name in names})
    assert torch.allclose(run(model, mixed), run(model, video)[order], atol=1e-5)


def test_pairs_depend_only_on_the_frames_of_their_window() -> None:
    model, video = small_predictor(), random_pairs([[2, 2, 2, 2]])
    before = run(model, video)
    for changed, seen in ((0, {0, 1}), (1, {0, 1, 2}), (2, {2, 3}), (3, {3})):
        union = video.union_features.clone()
        union[2 * changed : 2 * changed + 2] += 1
        after = run(model, replace(video, union_features=union))
        moved = {t for t in range(4) if not torch.allclose(after[2 * t], before[2 * t], atol=1e-6)}
        assert moved == seen


def test_single_frame_equals_frame_with_empty_neighbours() -> None:
    model = small_predictor()
    alone, gap = random_pairs([[3]]), random_pairs([[3, 0, 0]])
    assert torch.allclose(run(model, alone), run(model, gap), atol=1e-6)


def test_original_mode_returns_the_bias_for_a_single_frame() -> None:
    model = small_predictor(replace(SMALL, single_frame="original"))
    batch = random_pairs([[2, 0], [1, 1], [2]])
    with torch.inference_mode():
        said = model(batch).groups["attention"]
    is_bias = (said == model.get_parameter("a_rel_compress.bias")).all(1)
    assert is_bias.tolist() == [True, True, False, False, True, True]
    assert not torch.allclose(run(small_predictor(), batch)[0], run(model, batch)[0])


@pytest.mark.parametrize("counts", [[], [[]], [[0]], [[0, 0], [0]]])
def test_outputs_are_empty_without_pairs(counts: list[list[int]]) -> None:
    batch = random_pairs(counts)
    assert run(small_predictor(), batch).shape == (0, 12)
    model = small_predictor().train()
    assert model(batch).groups["contacting"].shape == (0, 5)


def test_only_attention_probabilities_sum_to_one() -> None:
    said = run(small_predictor(), random_pairs([[3, 3]]))
    assert torch.allclose(said[:, :3].sum(1), torch.ones(6))
    assert float(said.min()) >= 0
    assert float(said.max()) <= 1
    assert not torch.allclose(said[:, 3:7].sum(1), torch.ones(6), atol=1e-2)


#: Predictor of two exclusive groups and one other group, for two kinds of pairs.
OWN = replace(
    SMALL,
    groups={"hand": 2, "mood": 3, "state": 4},
    exclusive=("hand", "state"),
    kinds=((1, (2, 3), ("hand", "mood")), (None, (2, 4), ("state",))),
)


def test_pairs_have_only_the_predicates_of_their_kind() -> None:
    batch = random_pairs([[3, 3]])
    labels = torch.tensor([1, 2, 1, 4, 0, 2, 2, 2, 4, 4, 1, 3])
    pairs = batch.pairs.clone()
    pairs[3] = torch.tensor([7, 7])  # the state of an object of class 2
    pairs[4] = torch.tensor([8, 9])  # two objects of class 4
    said = run(small_predictor(OWN), replace(batch, labels=labels, pairs=pairs))
    has = torch.tensor([[1, 1, 0], [0, 0, 0], [0, 0, 0], [0, 0, 1], [0, 0, 0], [1, 1, 0]]).bool()
    for group, columns in enumerate((slice(0, 2), slice(2, 5), slice(5, 9))):
        there = (said[:, columns] > 0).all(1)
        assert torch.equal(there, has[:, group])
        assert torch.equal((said[:, columns] == 0).all(1), ~has[:, group])
    assert torch.allclose(said[has[:, 0], :2].sum(1), torch.ones(2))
    assert torch.allclose(said[has[:, 2], 5:].sum(1), torch.ones(1))
    assert not torch.allclose(said[has[:, 1], 2:5].sum(1), torch.ones(2), atol=1e-2)


def test_own_groups_have_heads_of_their_sizes() -> None:
    state = STTran(
        replace(OWN, groups={"hand": 2, "spatial": 3, "state": 4}, kinds=())
    ).state_dict()
    heads = {name: len(value) for name, value in state.items() if name.endswith("press.bias")}
    heads |= {name: len(state[name]) for name in ("rel_compress_0.bias", "rel_compress_2.bias")}
    assert heads == {"rel_compress_0.bias": 2, "s_rel_compress.bias": 3, "rel_compress_2.bias": 4}


def test_every_used_weight_gets_a_gradient() -> None:
    model = small_predictor().train()
    batch = random_pairs([[2, 1], [3]])
    said = model(batch)
    torch.cat([*said.groups.values()], 1).sum().backward()
    untouched = {n for n, p in model.named_parameters() if p.grad is None}
    assert {n.split(".")[0] for n in untouched} == {"object_classifier"}


def test_sizes_are_inferred_from_the_weights() -> None:
    for sizes in (SMALL, replace(SMALL, encoder_layers=2, decoder_layers=1)):
        state = small_predictor(sizes).state_dict()
        assert asdict(measure_predictor(state, heads=4)) == asdict(sizes)
    with torch.device("meta"):
        assert measure_predictor(STTran().state_dict()) == PredictorSettings()
    with pytest.raises(ValueError, match="subj_fc"):
        measure_predictor({n: v for n, v in state.items() if "subj_fc" not in n})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 7}, "heads: a divisor of the width 32"),
        ({"decoder_layers": 10**9}, "decoder_layers: an integer from 0 to 256"),
        ({"part_width": 0}, "part_width: an integer from 1 to 65536 expected, got 0"),
        ({"union_width": 3}, "union_width: an even number"),
        ({"dropout": 1.0}, "dropout: from 0 to below 1"),
        ({"single_frame": "zero"}, "single_frame: self or original"),
        ({"groups": {}}, "groups: at least one group of predicates expected"),
        ({"groups": {"a": 0}}, "groups: a: an integer from 1 to 65536 expected, got 0"),
        ({"groups": {"objects": 2}}, "another name than 'objects', got objects"),
        (
            {"exclusive": ("hand",)},
            "the groups attention, spatial, contacting expected, got 'hand'",
        ),
        ({"kinds": ((0, (1,), ("hand",)),)}, "exclusive and kinds: .* got 'hand'"),
        ({"kinds": ((5, (1,), ("spatial",)),)}, "kinds: object classes from 0 to 4 expected"),
        ({"kinds": ((None, (-1,), ("spatial",)),)}, "kinds: object classes from 0 to 4 expected"),
    ],
)
def test_invalid_sizes_are_rejected(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": torch.zeros(3, dtype=torch.int64)}, "labels: 6 rows expected, got 3"),
        ({"pairs_per_frame": torch.tensor([1, 1])}, "pairs_per_frame: counts that sum to 3"),
        ({"frames_per_video": torch.tensor([3])}, "frames_per_video: counts that sum to 2"),
        (
            {"pairs": torch.tensor([[0, 9], [0, 1], [0, 1]])},
            "pairs: rows from 0 to 5 expected, got 0 to 9",
        ),
    ],
)
def test_inconsistent_batches_are_rejected(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(random_pairs([[2, 1]]), **changes)


def test_keep_selects_pairs_and_retains_all_frames() -> None:
    batch = random_pairs([[2, 1], [3]])
    some = batch.keep(torch.tensor([True, False, False, True, True, False]))
    assert some.pairs_per_frame.tolist() == [1, 0, 2]
    assert torch.equal(some.union_features, batch.union_features[[0, 3, 4]])
    assert len(some) == 2
