"""Tests that cards are written and read, and that invalid cards are rejected."""

import copy
import json
import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from model.settings import LaIARSettings
from pipeline.errors import StageError, UsageError
from pipeline.weights.cards import Card, save_carded
from pipeline.weights.detector_card import DetectorCard
from pipeline.weights.model_card import ModelCard
from pipeline.weights.predictor_card import PredictorCard
from pipeline.weights.run_folder import (
    load_calibration,
    load_model,
    read_card,
    save_weights,
    write_card,
)
from tests.pipeline.cache_maker import cache_info
from tests.pipeline.predictor_files import VOCABULARY, small_settings

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
KINDS = ((0, (1, 2), ("attention",)), (None, (3,), ("spatial", "contacting")))
PREDICTOR = PredictorCard(
    replace(small_settings(8, 4), exclusive=("attention", "spatial"), kinds=KINDS),
    VOCABULARY.objects,
    VOCABULARY.predicate_groups,
    None,
    "a test",
)
SMALL = LaIARSettings(dim=16, heads=2, layers=1, num_frames=4, part_width=8, union_width=4)
MODEL = ModelCard(
    replace(SMALL.resolved(), class_embeddings=True),
    cache_info(),
    "ground-truth",
    8,
    4,
    columns=(0, 1, 2, 3, 4),
    training={"seed": 3, "validation_fraction": 0.1},
)
TREES = {
    DetectorCard: json.loads((CONFIGS / "detector/world.json").read_text()),
    PredictorCard: replace(PREDICTOR, detector="d").to_dict(),
    ModelCard: MODEL.to_dict(),
}
#: Fields that may have any content, and fields that may be null.
OPEN = {("details",), ("training",), ("cache", "detector"), ("columns",)}
NULLABLE = {
    ("columns",),
    ("short_side",),
    ("detector",),
    ("cache", "settings", "fps"),
    ("settings", "kinds", 0, 0),
    ("settings", "context"),
    ("settings", "discard"),
    ("settings", "positions"),
    ("settings", "encoder"),
    ("settings", "selector"),
    ("settings", "transitions"),
    ("settings", "votes"),
    ("settings", "reading"),
    ("settings", "class_embeddings"),
}
Place = tuple[str | int, ...]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_card(tmp_path, MODEL)
    save_weights(tmp_path, MODEL.build().state_dict())
    return tmp_path


def places(tree: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Yield the path and the value of every field of a card.

    Only the first item of a list is included.
    """
    if place:
        yield place, tree
    if isinstance(tree, dict) and place not in OPEN:
        for key, value in tree.items():
            yield from places(value, (*place, key))
    elif isinstance(tree, list) and tree:
        yield from places(tree[0], (*place, 0))


def changed(tree: Any, place: Place, value: Any) -> Any:
    """Return a copy of a card in which the field at `place` has another value."""
    made = copy.deepcopy(tree)
    inner = made
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return made


def may_be_read(place: Place, before: Any, value: Any) -> bool:
    """Return whether the type of a field allows a value."""
    if value is None:
        return place in NULLABLE
    return type(value) is type(before) and (isinstance(before, str) or place in OPEN)


@pytest.mark.parametrize(("value", "half"), [(1e5, True), (torch.inf, False), (torch.nan, True)])
def test_values_that_are_not_finite_when_stored_are_rejected(
    tmp_path: Path, value: float, half: bool
) -> None:
    path = tmp_path / "w.safetensors"
    state = {"good": torch.ones(2), "bad": torch.tensor([0.0, value])}
    kind = "float16" if half else "float32"
    with pytest.raises(
        StageError, match=f"finite numbers of {kind} expected, got NaN or infinity in bad"
    ):
        save_carded(path, state, PREDICTOR, half=half)
    assert list(tmp_path.iterdir()) == []
    save_carded(path, state | {"bad": torch.full((2,), 1e4)}, PREDICTOR, half=half)
    assert PredictorCard.read_header(path, "w") == PREDICTOR


@pytest.mark.parametrize(
    ("kind", "name"), [(DetectorCard, "detector/world"), (PredictorCard, "relations/world")]
)
def test_shipped_cards_are_unchanged_by_reading_and_writing(kind: type[Card], name: str) -> None:
    beside = json.loads((CONFIGS / f"{name}.json").read_text())
    with safe_open(CONFIGS / f"{name}.safetensors", "pt") as file:
        header = json.loads(file.metadata()["card"])
    assert beside.pop("sha256")
    assert header == beside
    card = kind.read_header(CONFIGS / f"{name}.safetensors", "w")
    assert card is not None
    assert kind.from_dict(header | {"sha256": "0"}) == card
    if kind is PredictorCard:  # of version 1, with a field for the size of each group
        header["schema"] = "laiar.predictor/2"
        sizes = [[g, header["settings"].pop(g)] for g in ("attention", "spatial", "contacting")]
        assert sizes == [["attention", 3], ["spatial", 6], ["contacting", 17]]
        header["settings"] |= {"groups": sizes, "exclusive": ["attention"], "kinds": []}
    assert card.to_dict() == header


def test_old_predictor_card_with_invalid_settings_is_rejected() -> None:
    tree = json.loads((CONFIGS / "relations/world.json").read_text())
    for changes, message in (
        ({"attention": "x"}, r"settings\.groups: int expected, got str"),
        ({"attention": 4}, "attention: 4 names expected, got 3"),
        ({"teapot": 4}, r"settings\.teapot: no such field"),
    ):
        with pytest.raises(ValueError, match=message):
            PredictorCard.from_dict(tree | {"settings": tree["settings"] | changes})
    with pytest.raises(ValueError, match="settings: a JSON object expected"):
        PredictorCard.from_dict(tree | {"settings": 3})


def test_model_card_is_unchanged_by_writing_and_reading(run: Path) -> None:
    assert read_card(run) == MODEL
    assert json.loads((run / "model.json").read_text()) == MODEL.to_dict()
    assert list(MODEL.to_dict()) == [
        "schema",
        "settings",
        "cache",
        "relations",
        "box_features",
        "union_channels",
        "num_labels",
        "multi_label",
        "columns",
        "branch",
        "longest_s",
        "training",
    ]


def test_predictor_card_has_each_group_once_in_order() -> None:
    tree = PREDICTOR.to_dict()
    groups = tree["predicate_groups"]
    for others in (groups[::-1], groups[:2]):
        with pytest.raises(ValueError, match="predicate groups attention, spatial, contacting"):
            PredictorCard.from_dict(tree | {"predicate_groups": others})
    for others in ([["spatial", []], *groups], [*groups, groups[0]]):
        with pytest.raises(ValueError, match=r"^predicate_groups: unique keys expected"):
            PredictorCard.from_dict(tree | {"predicate_groups": others})


@pytest.mark.parametrize("kind", TREES)
@pytest.mark.parametrize("value", [None, "x", [1, 2], {"a": 1}], ids=repr)
def test_values_of_another_type_are_rejected_with_the_field_name(
    kind: type[Card], value: Any
) -> None:
    tree = {key: given for key, given in TREES[kind].items() if key != "sha256"}
    for place, before in places(tree):
        if not may_be_read(place, before, value):
            field = str([key for key in place if isinstance(key, str)][-1])
            with pytest.raises(ValueError, match=field):
                kind.from_dict(changed(tree, place, value))


@pytest.mark.parametrize("value", [None, "x", [1, 2], {"a": 1}, -1, 1e300, True], ids=repr)
def test_damaged_model_card_raises_usage_error(run: Path, value: Any) -> None:
    tree = MODEL.to_dict()
    for place, before in places(tree):
        (run / "model.json").write_text(json.dumps(changed(tree, place, value)))
        if may_be_read(place, before, value) or isinstance(value, int | float):
            with suppress(UsageError):
                load_model(run, "cpu")
        else:
            with pytest.raises(UsageError, match=r"model\.json: "):
                load_model(run, "cpu")


@pytest.mark.parametrize("kind", TREES)
def test_missing_and_unknown_fields_are_rejected_with_their_names(kind: type[Card]) -> None:
    tree = TREES[kind]
    defaults = {"schema", "sha256", "details", "training", "num_labels", "multi_label", "branch"}
    defaults |= {"longest_s", "columns"}
    for key in tree.keys() - defaults:
        with pytest.raises(ValueError, match=f"^{key}: missing"):
            kind.from_dict({name: value for name, value in tree.items() if name != key})
    inner: list[Place] = [
        (*place, "teapot")
        for place, value in places(tree)
        if isinstance(value, dict) and place not in OPEN
    ]
    for place in [("teapot",), *inner]:
        field = ".".join(map(str, place))
        with pytest.raises(ValueError, match=rf"^{field}: no such field"):
            kind.from_dict(changed(tree, place, 3))


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"box_features": 1 << 80}, "box_features: at most 65536 expected"),
        ({"settings": {"layers": 10**9}}, "layers: at most 256 expected"),
        ({"settings": {"mlp_ratio": 1e300}}, "mlp_ratio: at most 65536 expected"),
        ({"settings": {"dim": 32}}, r"shape \(.*\) expected, got"),
        ({"box_features": -8}, "negative"),
        ({"cache": {"classes": []}}, "expected, got"),
        ({"cache": {"predicate_groups": []}}, "expected, got"),
        ({"cache": {"schema": "laiar.cache/0"}}, r"cache\.schema: laiar\.cache/1 expected"),
        (
            {"cache": {"settings": {"boxes": "detected", "union": "x"}}},
            "union: one of full, conv256, none expected",
        ),
        ({"cache": {"classes": [["c1", "Sit"], ["c1", "Stand"]]}}, "unique names expected"),
        ({"cache": {"settings": {"boxes": "nope"}}}, "boxes: one of detected, ground-truth"),
        ({"cache": {"settings": {"backend": "nope"}}}, "backend: one of pyav"),
        ({"cache": {"settings": {"fps": -1}}}, "fps: 0.01 to 1000000 expected, got -1"),
        ({"cache": {"settings": {"frames": 10**9}}}, r"frames\.num: 1 to 100000 expected"),
        ({"training": {"seed": "x"}}, r"training\.seed: a number expected, got 'x'"),
        ({"training": {"seed": True}}, r"training\.seed: a number expected, got True"),
        ({"training": {"seed": -1}}, r"training\.seed: 0 to .* expected, got -1"),
        ({"training": {"validation_fraction": 2}}, r"validation_fraction: 0 to 1 expected, got 2"),
    ],
)
def test_invalid_model_cards_and_cards_of_other_weights_are_rejected(
    run: Path, changes: dict[str, Any], message: str
) -> None:
    tree = MODEL.to_dict()
    for name, value in changes.items():
        tree[name] = tree[name] | value if isinstance(value, dict) else value
    (run / "model.json").write_text(json.dumps(tree))
    with pytest.raises(UsageError, match=message):
        load_model(run, "cpu")


@pytest.mark.parametrize("kind", TREES)
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"schema": SCHEMA, "details": DEEP, "training": DEEP}', "JSON is nested too deeply"),
        ('{"schema": SCHEMA, "origin": "LONG"}', "at most 1048576 bytes expected"),
        ('{"schema": SCHEMA', "Expecting"),
        ("[]", "a JSON object expected, got list"),
        ("null", "a JSON object expected, got NoneType"),
        ("{}", "schema: SCHEMA expected, got None"),
        ('{"schema": "laiar.teapot/1"}', "schema: SCHEMA expected, got laiar.teapot/1"),
        ('{"schema": [[[]]]}', "schema: SCHEMA expected, got .*"),
        ('{"schema": SCHEMA}', "[a-z_]+: missing"),
    ],
)
def test_texts_that_are_not_a_card_are_rejected(
    run: Path, kind: type[Card], text: str, message: str
) -> None:
    text = text.replace("SCHEMA", json.dumps(kind.SCHEMA)).replace("LONG", "a" * (1 << 20))
    text = text.replace("DEEP", "[" * 100_000 + "]" * 100_000)
    message = message.replace("SCHEMA", str(kind.SCHEMA))
    save_file({"a": torch.zeros(1)}, run / "w.safetensors", {"card": text})
    with pytest.raises(UsageError, match=rf"w: .*w\.safetensors: .*{message}"):
        kind.read_header(run / "w.safetensors", "w")
    if kind is ModelCard:
        (run / "model.json").write_text(text)
        with pytest.raises(UsageError, match=rf"model\.json: .*{message}"):
            read_card(run)


def test_model_card_that_is_not_text_is_rejected(run: Path) -> None:
    (run / "model.json").write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(UsageError, match=r"model\.json: "):
        read_card(run)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), "laiar.calibration/1"),
        (("groups",), {}),
        (("groups", "contacting", "threshold"), "0.1"),
        (("groups", "contacting", "threshold"), math.nan),
        (("groups", "contacting", "bins"), "ab"),
        (("groups", "contacting", "bins"), [{"margin_from": 0.1, "right": 7.5}]),
        (("groups", "contacting", "threshold"), 10**400),
        (
            ("groups", "contacting", "bins"),
            [{"margin_from": 0.2, "right": 0.5}, {"margin_from": 0.1, "right": 0.5}],
        ),
        (("scores", "temperature"), 0),
        (("scores", "temperature"), "1"),
    ],
)
def test_invalid_calibration_is_rejected(run: Path, path: tuple[str, ...], value: object) -> None:
    group = {"threshold": 0.1, "bins": [{"margin_from": 0.1, "right": 0.5}]}
    tree: dict[str, Any] = {
        "schema": "laiar.calibration/3",
        "groups": {name: dict(group) for name in MODEL.cache.predicate_groups},
        "scores": {"temperature": 1.5},
    }
    (run / "calibration.json").write_text(json.dumps(tree))
    assert load_calibration(run, MODEL)["scores"]["temperature"] == 1.5
    part = tree
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    (run / "calibration.json").write_text(json.dumps(tree))
    with pytest.raises(UsageError, match="a calibration file expected"):
        load_calibration(run, MODEL)
