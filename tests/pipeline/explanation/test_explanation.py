import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.label_bank import LabelBankBuilder
from model.labels import TokenLabels
from model.laiar import LaIAR
from model.settings import LaIARSettings
from pipeline.cache.clip import CachedClip
from pipeline.decoding.video_source import VideoSource
from pipeline.explanation.builder import build_explanation, find_tracks
from pipeline.explanation.explained_clip import Network, explain_clip, find_transitions
from pipeline.explanation.explanation import WARNINGS, Explanation
from pipeline.explanation.naming import label_bank
from pipeline.explanation.observations import Token
from pipeline.explanation.windows import WindowChoice
from pipeline.extraction.person_choice import PersonChoice
from pipeline.samples.clip_tokens import clip_tokens
from pipeline.weights.model_card import ModelCard
from tests.pipeline.cache_maker import cache_info, labelled_clip
from tests.pipeline.clips import random_clip
from tests.pipeline.explanation.report.explanation_maker import GENERATOR
from tests.pipeline.explanation.token_maker import make_name, make_token

SCHEMA = json.loads(Path("configs/schemas/explanation.schema.json").read_text())
SETTINGS = LaIARSettings(
    num_frames=6, max_pairs=4, dim=16, layers=1, heads=2, part_width=8, union_width=4
)
CALIBRATION = {"videos": 0, "groups": {}, "scores": {"temperature": 2.0}}


def network_of(clip: CachedClip, **changes: object) -> Network:
    """Return a random network whose label bank has the labels of a clip."""
    settings = replace(SETTINGS, **changes).resolved()  # type: ignore[arg-type]
    tokens = clip_tokens(clip, settings.max_pairs, "ground-truth")
    assert tokens.batch.predicates is not None
    labels = TokenLabels.of_tokens(tokens.batch.pairs, tokens.batch.predicates >= 0.5)
    card = ModelCard(settings, cache_info(), "ground-truth", 8, 4, num_labels=len(labels))
    model = card.build().eval()
    assert isinstance(model, LaIAR)
    builder = LabelBankBuilder(model.semantic.group_sizes, settings.dim)
    with torch.no_grad():
        if model.reader is not None:
            model.reader.set_labels(labels)
        language = model(tokens.batch).language
        assert language is not None
        builder.add(language.embeddings, tokens.batch)
    bank = builder.build() if settings.context == "all" else label_bank(model, labels)
    return Network(model, card, bank, CALIBRATION, torch.device("cpu"))


def explained(counts: list[int], seed: int = 0, size: int = 99, **changes: object) -> dict:
    """Return the explanation of a random clip as JSON, see `random_explanation`."""
    explanation = random_explanation(counts, seed, size, **changes)
    assert Explanation.from_dict(explanation.to_dict()) == explanation
    return explanation.to_dict()


def random_explanation(
    counts: list[int], seed: int = 0, size: int = 99, **changes: object
) -> Explanation:
    """Explain a random clip with a random network, in windows of `size` frames."""
    torch.manual_seed(seed)
    clip = random_clip(counts, seed, predicates=26)
    network = network_of(clip, **changes)
    choice = WindowChoice(3)
    starts = range(0, max(clip.num_frames - size, 0) + 1, max(size // 2, 1))
    for start in starts:
        part = clip.select([*range(start, min(start + size, clip.num_frames))])
        output = network.recognize(clip_tokens(part, SETTINGS.max_pairs).batch)
        choice.add(part, output.logits[0].double().sigmoid())
    found = {
        number: explain_clip(
            network, part, actions=[c for c in choice.actions() if choice.window_of(c) == number]
        )
        for number, part in choice.clips.items()
    }
    return build_explanation(
        network,
        choice,
        found,
        fingerprint="f" * 64,
        generator=GENERATOR,
        threshold=0.5,
        source=VideoSource(path=Path("a.mp4"), **clip.header.source.to_dict()),
        people=PersonChoice(),
    )


@given(
    counts=st.lists(st.integers(0, 5), min_size=1, max_size=6),
    seed=st.integers(0, 99),
    preset=st.sampled_from(["strict", "paper"]),
    keep=st.sampled_from([0.2, 0.9]),
)
@settings(max_examples=25, deadline=None)
def test_explanations_conform_to_the_schema(
    counts: list[int], seed: int, preset: str, keep: float
) -> None:
    tree = explained(counts, seed, preset=preset, initial_keep=keep)
    jsonschema.validate(json.loads(json.dumps(tree, allow_nan=False)), SCHEMA)
    codes = {warning["code"] for warning in tree["warnings"]}
    assert ("NOT_STRICT" in codes) == (preset == "paper")
    assert ("NO_PERSON" in codes) == (sum(counts) == 0)
    assert ("NO_OBJECT" in codes) == (sum(counts) > 0 and max(counts) < 2)
    assert ("SHORT_CLIP" in codes) == (len(counts) < 6)
    kept = [token for token in tree["tokens"] if token["keep"]]
    assert ("EMPTY_SELECTION" in codes) == (not kept)
    ids = {token["id"] for token in kept}
    for prediction in tree["predictions"]:
        reason = prediction["reason"]
        assert {*reason["tokens"]} <= ids
        assert (reason["kind"] == "none") == (not reason["tokens"])
        assert reason["score_only"] >= prediction["score"] - 0.05 - 1e-6
        said = [reason, *reason["also"]] if reason["tokens"] else []
        tracks = [tree["tokens"][i]["track"] for i in reason["tokens"]]
        assert sorted(part["track"] for part in said) == sorted({*tracks})
        for part in said:
            assert (part["from"] is None) == (part["kind"] == "lasting")
            assert part["from"] is None or part["from"] != part["to"]
            assert part["between_s"] == sorted(part["between_s"])


def test_predictions_of_a_long_video_refer_to_the_window_with_the_highest_score() -> None:
    tree = explained([3] * 12, seed=3, size=4)
    jsonschema.validate(json.loads(json.dumps(tree, allow_nan=False)), SCHEMA)
    assert len(tree["windows"]) == 5
    assert len({row["window"] for row in tree["predictions"]}) > 1
    frames, tokens = tree["sampling"]["frames"], tree["tokens"]
    assert [row["t"] for row in frames] == [*range(len(frames))]
    for name in ("tokens", "tracks", "transitions"):
        assert [row["id"] for row in tree[name]] == [*range(len(tree[name]))]
    for rank, prediction in enumerate(tree["predictions"]):
        window = prediction["window"]
        scores = [row["scores"][rank] for row in tree["windows"]]
        assert prediction["score"] == scores[window] == max(scores)
        mine = {t["id"] for t in tokens if frames[t["t"]]["window"] == window}
        assert {part["token"] for part in prediction["evidence"]} <= mine
        assert {*prediction["reason"]["tokens"]} <= mine
        first, last = tree["windows"][window]["between_s"]
        assert all(first <= tokens[i]["time_s"] <= last for i in mine)
        for track in tree["tracks"]:
            assert {tokens[i]["track"] for i in track["tokens"]} == {track["id"]}


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("predictions", 0, "reason", "tokens"), [9999], "unknown id"),
        (("predictions", 0, "window"), 7, "unknown id"),
        (("predictions", 0, "score"), float("nan"), "finite"),
        (("predictions", 0, "score"), 10**400, "finite"),
        (("predictions", 0, "score"), "0.5", "float expected"),
        (("tokens",), [], "refers to an unknown"),
        (("tokens", 0, "id"), 3, "ids from 0"),
        (("video", "id"), "../x", "a name of letters"),
        (("fingerprint",), None, "str expected"),
    ],
)
def test_invalid_explanations_are_rejected(path: tuple, value: object, says: str) -> None:
    tree = place = explained([3, 2, 4], seed=1)
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(ValueError, match=says):
        Explanation.from_dict(tree)


def test_windows_of_no_chosen_action_are_forgotten() -> None:
    clip, choice = random_clip([1, 1]), WindowChoice(1)
    for scores in ([0.1, 0.5], [0.6, 0.2], [0.3, 0.7], [0.2, 0.7]):
        choice.add(clip, torch.tensor(scores, dtype=torch.float64))
    assert (choice.actions(), choice.best.tolist(), [*choice.clips]) == ([1], [0.6, 0.7], [2])


def test_schema_lists_every_warning_code() -> None:
    known = SCHEMA["properties"]["warnings"]["items"]["properties"]["code"]["enum"]
    assert known == list(WARNINGS)


def token(number: int, t: int, *predicates: str, **changes: Any) -> Token:
    return make_token(number, t / 2, make_name("contacting", *predicates), t=t, **changes)


def test_transitions_join_consecutive_kept_tokens_of_one_track() -> None:
    tokens = [
        token(0, 0, "holding"),
        token(1, 0, "touching", track=1),  # another object of the same class
        token(2, 1, "carrying", keep=False),
        token(3, 2),
        token(4, 3, "holding"),
        token(5, 3, "wiping", track=2, kind="cup"),
        token(6, 6, "not_contacting"),
        token(7, 7, "wiping", track=2, kind="cup"),
    ]
    assert [row.to_dict() for row in find_transitions(tokens, ("contacting",))] == [
        {
            "id": 0,
            "track": 0,
            "object": "box",
            "group": "contacting",
            "from": "holding",
            "to": "not_contacting",
            "between_s": [1.5, 3.0],
            "tokens": [4, 6],
        }
    ]
    assert [row.to_dict() for row in find_tracks(tokens)] == [
        {"id": 0, "object": "box", "tokens": [0, 2, 3, 4, 6]},
        {"id": 1, "object": "box", "tokens": [1]},
        {"id": 2, "object": "cup", "tokens": [5, 7]},
    ]


def test_ends_of_a_transition_are_predicates_that_only_one_token_has() -> None:
    tokens = [
        token(0, 0, "touching", "holding"),
        token(1, 1, "drinking_from", "holding"),
        token(2, 2, "holding"),
        token(3, 3, "holding", "touching"),
    ]
    found = find_transitions(tokens, ("contacting",))
    assert [(row.from_, row.to) for row in found] == [
        ("touching", "drinking_from"),
        ("drinking_from", "holding"),
        ("holding", "touching"),
    ]
    same = [token(0, 0, "touching", "holding"), token(1, 1, "holding", "touching")]
    assert find_transitions(same, ("contacting",)) == []


def test_selected_clip_contains_the_selected_frames() -> None:
    clip = labelled_clip(3, "train")
    part = clip.select([1, 4])
    assert part.num_frames == 2
    for row, t in enumerate((1, 4)):
        for name, offsets in (("boxes", "box_offsets"), ("union_features", "pair_offsets")):
            whole, ours = getattr(clip, offsets), getattr(part, offsets)
            expected = getattr(clip, name)[whole[t] : whole[t + 1]]
            assert torch.equal(getattr(part, name)[ours[row] : ours[row + 1]], expected)
    assert part.select([]).num_frames == 0
    with pytest.raises(IndexError):
        clip.select([99])
