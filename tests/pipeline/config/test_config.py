from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.loading import config_as_dict, load_config, load_settings
from pipeline.config.schema import Config, Dataset
from pipeline.errors import UsageError
from pipeline.extraction.clip_features import ClipFeatureConfig
from pipeline.training.detector.settings import DetectorTraining
from pipeline.training.relations.settings import RelationTraining

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
MOST = str(2**63 - 1)
#: Rows of (setting, range in the message, outermost accepted values, nearest rejected values).
RANGES: dict[type, list[tuple[str, str, str, str]]] = {
    Config: [
        ("max_failures", "at least 0", "0 null", "-1"),
        ("decode.fps", "0.01 to 1000000", "0.01 1e6 null", "0.0099 1000000.1 0 inf"),
        ("decode.timeout_s", "above 0, at most 1000000", "1e-9 1e6", "0 -1 1000000.1 inf"),
        ("decode.workers", "at least 0", "0 null", "-1"),
        ("decode.memory_gb", "0 or 0.1 to 10000", "0 0.1 1e4", "0.099 -1 10000.1 inf"),
        ("frames.num", "1 to 100000", "1 100000", "0 100001"),
        ("detection.preset", "one of action-genome, ", "detectron2-c4 null", "loose"),
        ("detection.depth", "one of 26, 50, 101, 152", "26 152 null", "25 33 153"),
        ("detection.width", "1 to 65536", "1 65536 null", "0 65537"),
        ("detection.fpn_channels", "1 to 65536", "1 65536 null", "0 65537"),
        ("detection.head_width", "1 to 65536", "1 65536 null", "0 65537"),
        ("detection.anchor_scale", "0.001 to 1000", "0.001 1000 null", "0.00099 1000.1"),
        ("detection.short_side", "32 to 8192", "32 8192 null", "31 8193"),
        ("detection.proposals", "1 to 100000", "1 100000 null", "0 100001"),
        ("detection.score_threshold", "0 to 1", "0 1 null", "-0.001 1.001"),
        ("detection.nms_threshold", "0 to 1", "0 1 null", "-0.001 1.001"),
        ("detection.max_boxes", "1 to 100000", "1 100000 null", "0 100001"),
        ("detection.seed", f"0 to {MOST}", f"0 {MOST}", f"-1 {2**63}"),
        ("detection.batch_size", "1 to 4096", "1 4096", "0 4097"),
        ("train.epochs", "at least 0", "0", "-1"),
        ("train.batch_size", "at least 1", "1", "0"),
        ("train.lr", "0 to 1", "0 1", "-0.001 1.001"),
        ("train.weight_decay", "0 to 1", "0 1", "-0.001 1.001"),
        ("train.warmup", "0 to 1", "0 1", "-0.001 1.001"),
        ("train.selection_warmup", "0 to 1", "0 1", "-0.001 1.001"),
        ("train.least_share", "0 to 1", "0 1", "-0.001 1.001"),
        ("train.num_excerpts", "1 to 100", "1 100", "0 101"),
        ("train.reversed_share", "0 to 1", "0 1", "-0.001 1.001"),
        ("train.token_price", "at least 0", "0 100", "-0.001"),
        ("train.selector_lr", "0 to 100", "0 100", "-0.001 100.001"),
        ("train.ema", "0 to 0.9999", "0 0.9999", "-0.001 1"),
        ("train.clip_norm", "0 to 1000000000", "0 1e9", "-0.001 1000000001 inf"),
        ("train.accumulate", "at least 1", "1", "0"),
        ("train.validation_fraction", "0 to 1", "0 1", "-0.001 1.001"),
        ("train.workers", "at least 0", "0", "-1"),
        ("train.memory_gb", "at least 0", "0 0.5", "-0.001"),
        ("train.min_label_tokens", "at least 1", "1 9", "0"),
        ("train.seed", "0 to 4294967295", "0 4294967295", "-1 4294967296"),
        ("train.threads", "1 to 1024", "1 1024 null", "0 1025"),
        ("predict.top", "at least 1", "1", "0"),
        ("predict.threshold", "0 to 1", "0 1", "-0.001 1.001"),
        ("predict.window_s", "0 or at least 0.1", "0.1 12 0 null", "0.09 -1 inf"),
    ],
    DetectorTraining: [
        ("training.epochs", "at least 1", "1", "0"),
        ("training.batch_size", "at least 1", "1", "0"),
        ("training.lr", "0 to 10", "0 10", "-0.001 10.001"),
        ("training.momentum", "0 to 1", "0 1", "-0.001 1.001"),
        ("training.weight_decay", "0 to 1", "0 1", "-0.001 1.001"),
        ("training.warmup_steps", "at least 0", "0", "-1"),
        ("training.milestones", "0 to 1", "[] [0,1]", "[0.5,-0.001] [1.001,0.5]"),
        ("training.ema", "0 to 0.9999", "0 0.9999", "-0.001 1"),
        ("training.clip_norm", "0 to 1000000000", "0 1e9", "-0.001 1000000001 inf"),
        ("training.accumulate", "at least 1", "1", "0"),
        ("training.frame_stride", "at least 1", "1", "0"),
        ("training.flip", "0 to 1", "0 1", "-0.001 1.001"),
        ("training.short_sides", "at least 32", "[] [32,64]", "[64,31]"),
        ("training.repeat_threshold", "0 to 1", "0 1", "-0.001 1.001"),
        ("training.freeze_at", "0 to 5", "0 5", "-1 6"),
        ("training.workers", "at least 0", "0", "-1"),
        ("training.save_every", "at least 1", "1", "0"),
        ("training.log_every", "at least 1", "1", "0"),
        ("training.seed", f"0 to {2**32 - 1}", f"0 {2**32 - 1}", f"-1 {2**32}"),
    ],
    ClipFeatureConfig: [
        ("network", "one of r3d_18, ", "s3d swin3d_b", "slowfast"),
        ("clips", "1 to 1000", "1 1000", "0 1001"),
        ("max_failures", "at least 0", "0 null", "-1"),
    ],
    RelationTraining: [
        ("training.epochs", "at least 1", "1", "0"),
        ("training.batch_size", "at least 1", "1", "0"),
        ("training.lr", "0 to 1", "0 1", "-0.001 1.001"),
        ("training.weight_decay", "0 to 1", "0 1", "-0.001 1.001"),
        ("training.ema", "0 to 0.9999", "0 0.9999", "-0.001 1"),
        ("training.clip_norm", "0 to 1000000000", "0 1e9", "-0.001 1000000001 inf"),
        ("training.accumulate", "at least 1", "1", "0"),
        ("training.warmup", "0 to 1", "0 1", "-0.001 1.001"),
        ("training.object_loss", "0 to 1000000", "0 1e6", "-0.001 1000000.1"),
        ("training.validation_fraction", "0 to 0.9", "0 0.9", "-0.001 0.901"),
        ("training.workers", "at least 0", "0", "-1"),
        ("training.seed", f"0 to {2**32 - 1}", f"0 {2**32 - 1}", f"-1 {2**32}"),
    ],
}
ROWS = [
    pytest.param(schema, *row, id=f"{schema.__name__}-{row[0]}")
    for schema, rows in RANGES.items()
    for row in rows
]


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda p: p.name)
def test_every_config_loads_and_starts_with_its_command(path: Path) -> None:
    tree = config_as_dict(load_config(path))
    assert tree["boxes"] in ("detected", "ground-truth")
    head = path.read_text().split("\ndataset:")[0]
    for word in ("python -m", "Needs", "Takes"):
        assert word in head, f"{path.name} does not contain: {word}"
    assert "Expect" in head


def test_charades_config_has_detected_boxes_no_relations_and_no_weights() -> None:
    config = load_config(CONFIGS / "charades.yaml")
    assert (config.boxes.value, config.relations.value) == ("detected", "none")
    assert config.dataset is Dataset.charades
    assert config.detection.weights is None
    assert config.frames.num == 32


def test_words_override_yaml_and_yaml_overrides_defaults(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("detection: {depth: 50, width: 8}\nboxes: ground-truth\n")
    config = load_config(path, ["detection.depth=26"])
    assert (config.detection.depth, config.detection.width) == (26, 8)
    assert config.detection.proposals == load_config().detection.proposals
    assert config_as_dict(config)["boxes"] == "ground-truth"


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("dataset=cad", "dataset: Invalid value 'cad', expected one of [charades, cad120]"),
        ("pairs=hand", "pairs: a list such as pairs=[hand] expected, got hand"),
        ("classes=null", "classes: a list such as classes=[None] expected, got None"),
        ("frames.nun=3", "did you mean 'frames.num'?"),
        ("framez.num=3", "did you mean 'frames'?"),
        ("short_side=3", "did you mean 'detection.short_side'?"),
        ("boxes=detekted", "expected one of"),
        ("frames.num=x", "frames.num"),
        ("decode=3", "decode"),
        ("nothing", "key=value"),
        ("model.preset=papr", "strict or paper"),
        ("model.heads=7", "multiple of heads"),
        ("model.initial_keep=2", "below 1"),
        ("model.dropout=nan", "below 1"),
        ("model.gumbel_temperature=0", "above 0"),
        ("model.union_width=1", "at least 2"),
        ("model.predicate_pooling=max", "active or soft"),
        ("loss.reduction=max", "mean or sum"),
        ("device=${nowhere}", "device: Interpolation key 'nowhere' not found"),
        ("frames=${frames}", "Recursive interpolation"),
        ("train.lr=${oc.env:NO_SUCH_VARIABLE}", "train.lr"),
        ("train.epoch=3", "did you mean 'train.epochs'?"),
    ],
)
def test_invalid_word_is_rejected_and_the_error_names_it(word: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_config(None, [word])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("schema", "key", "says", "accepted", "refused"), ROWS)
def test_ranges_accept_and_reject_the_documented_values(
    schema: type, key: str, says: str, accepted: str, refused: str
) -> None:
    others = ["decode.backend=frames"] if key == "decode.fps" else []
    for value in accepted.split():
        load_settings(schema, None, [f"{key}={value}", *others])
    for value in refused.split():
        with pytest.raises(UsageError) as caught:
            load_settings(schema, None, [f"{key}={value}", *others])
        message = str(caught.value)
        assert message.startswith(f"{key}: {says}")
        assert " expected, got " in message


def leaves(settings: Any, prefix: str = "") -> Iterator[tuple[str, Any, bool]]:
    """Yield the name and type of every setting, and whether it has a range."""
    for field in fields(settings):
        value = getattr(settings, field.name)
        if is_dataclass(value):
            yield from leaves(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", field.type, bool(field.metadata)


@pytest.mark.parametrize("schema", RANGES)
def test_every_declared_range_is_in_the_table(schema: type) -> None:
    known = {row[0] for row in RANGES[schema] + RANGES[Config]}
    assert {key for key, _, has_range in leaves(schema()) if has_range} <= known
    assert {row[0] for row in RANGES[schema]} <= {key for key, _, _ in leaves(schema())}


@pytest.mark.parametrize("schema", RANGES)
def test_nan_is_rejected_for_every_number(schema: type) -> None:
    for key, kind, _ in leaves(schema()):
        if any(word in str(kind) for word in ("int", "float")):
            value = "[nan]" if "list" in str(kind) else "nan"
            with pytest.raises(UsageError, match=rf"{key.rsplit('.', 1)[-1]}.*nan"):
                load_settings(schema, None, [f"{key}={value}"])


@pytest.mark.parametrize("text", ["a: [", "- 1\n- 2\n", "frames: {nums: 3}", "device: ${x}", ""])
def test_invalid_file_is_rejected_and_empty_file_gives_defaults(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    if not text:
        assert load_config(path) == load_config()
        return
    with pytest.raises(UsageError, match=r"expected|unknown|not found"):
        load_config(path)
    with pytest.raises(UsageError, match="config: file not found"):
        load_config(tmp_path / "absent.yaml")


def test_preset_determines_the_settings_that_are_not_set() -> None:
    model = load_config(None, ["model.preset=paper", "model.discard=mask"]).model.resolved()
    assert (model.context, model.discard, model.positions) == ("all", "mask", "time-slot")
    strict = load_config().model.resolved()
    assert (strict.context, strict.discard, strict.positions) == ("none", "mask", "seconds")
