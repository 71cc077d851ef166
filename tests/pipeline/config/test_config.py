from pathlib import Path

import pytest

from pipeline.config.schema import config_as_dict, load_config
from pipeline.errors import UsageError

CONFIGS = Path(__file__).resolve().parents[3] / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda p: p.name)
def test_every_config_loads_and_opens_with_its_command(path: Path) -> None:
    tree = config_as_dict(load_config(path))
    assert tree["boxes"] in ("detected", "ground-truth")
    head = path.read_text().split("\ndataset:")[0]
    for word in ("python -m", "Needs", "Takes"):
        assert word in head, f"{path.name} does not say: {word}"
    assert "Expect" in head


def test_charades_has_detected_boxes_no_relations_and_no_weights() -> None:
    config = load_config(CONFIGS / "charades.yaml")
    assert (config.boxes.value, config.relations.value) == ("detected", "none")
    assert config.detection.weights is None
    assert config.frames.num == 32


def test_words_win_over_yaml_and_yaml_over_defaults(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("detection: {depth: 50, width: 8}\nboxes: ground-truth\n")
    config = load_config(path, ["detection.depth=26"])
    assert (config.detection.depth, config.detection.width) == (26, 8)
    assert config.detection.proposals == load_config().detection.proposals
    assert config_as_dict(config)["boxes"] == "ground-truth"


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("frames.nun=3", "did you mean 'frames.num'?"),
        ("framez.num=3", "did you mean 'frames'?"),
        ("short_side=3", "did you mean 'detection.short_side'?"),
        ("boxes=detekted", "expected one of"),
        ("frames.num=x", "frames.num"),
        ("frames.num=0", "at least 1"),
        ("max_failures=-1", "at least 0"),
        ("decode=3", "decode"),
        ("detection.preset=loose", "action-genome"),
        ("detection.depth=33", "101"),
        ("nothing", "key=value"),
        ("model.preset=papr", "strict or paper"),
        ("model.heads=7", "multiple of heads"),
        ("model.initial_keep=2", "below 1"),
        ("model.dropout=nan", "below 1"),
        ("model.gumbel_temperature=0", "above 0"),
        ("model.union_width=1", "at least 2"),
        ("model.predicate_pooling=max", "active or soft"),
        ("loss.reduction=max", "mean or sum"),
        ("train.warmup=2", "from 0 to 1"),
        ("train.lr=nan", "from 0 to 1"),
        ("train.clip_norm=0", "above 0"),
        ("train.clip_norm=inf", "above 0"),
        ("device=${nowhere}", "device: Interpolation key 'nowhere' not found"),
        ("frames=${frames}", "Recursive interpolation"),
        ("train.lr=${oc.env:NO_SUCH_VARIABLE}", "train.lr"),
        ("train.epoch=3", "did you mean 'train.epochs'?"),
    ],
)
def test_a_bad_word_is_refused_by_name(word: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_config(None, [word])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["a: [", "- 1\n- 2\n", "frames: {nums: 3}", "device: ${x}", ""])
def test_a_bad_file_is_refused_or_empty(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    if not text:
        assert load_config(path) == load_config()
        return
    with pytest.raises(UsageError, match=r"expected|unknown|not found"):
        load_config(path)
    with pytest.raises(UsageError, match="YAML file expected"):
        load_config(tmp_path / "absent.yaml")


def test_a_preset_of_the_command_line_decides_what_is_not_named() -> None:
    model = load_config(None, ["model.preset=paper", "model.discard=mask"]).model.resolved()
    assert (model.context, model.discard, model.positions) == ("all", "mask", "time-slot")
    strict = load_config().model.resolved()
    assert (strict.context, strict.discard, strict.positions) == ("kept", "mask", "time")
