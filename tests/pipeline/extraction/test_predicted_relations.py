"""Tests of relations=predicted, from extraction to training."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pipeline import extract, train
from pipeline.cache.listing import list_clips
from pipeline.cache.manifest import read_manifest
from pipeline.cache.reader import ClipReader, load_clip
from pipeline.config.schema import RelationPredictorConfig
from pipeline.errors import FailureReason, ItemError, UsageError
from pipeline.extraction.relation_prediction import (
    frame_sequences,
    predict_relations,
    with_predicted,
)
from pipeline.weights.detectors import ResolvedDetector
from pipeline.weights.predictors import find_predictor, load_predictor
from relations.sttran import STTran
from tests.conftest import CONFIG, SMALL, World
from tests.pipeline.cache_maker import SMALL as SMALL_MODEL
from tests.pipeline.cache_maker import put, random_cache
from tests.pipeline.clips import random_clip
from tests.pipeline.predictor_files import VOCABULARY, predictor_file, small_settings

#: Feature widths of the detector of `World.cache`.
F, CU = 128, 64
IDENTITY = {"weights": "w", "single_frame": "self"}


def words(world: World, cache: Path) -> list[str]:
    data = ["--videos", str(world.videos), "--annotations", str(world.annotations)]
    return ["--config", CONFIG, *data, "--cache", str(cache), *SMALL]


@pytest.fixture
def copied(world: World, tmp_path: Path) -> Path:
    """Copy of `World.cache`, which contains only annotated relations."""
    return Path(shutil.copytree(world.cache, tmp_path / "cache"))


def test_added_predictions_equal_those_of_extraction_and_require_no_detector(
    world: World, copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = predictor_file(tmp_path / "p.safetensors", F, CU)
    asked = ["relations=predicted", f"relation_predictor.weights={weights}"]
    at_once = tmp_path / "at_once"
    assert extract.main([*words(world, at_once), *asked]) == 0

    def never(*_: object) -> None:
        raise AssertionError("the detector was loaded")

    monkeypatch.setattr(ResolvedDetector, "load", never)
    assert extract.main([*words(world, copied), *asked]) == 0
    names = sorted(path.name for path in at_once.glob("*.safetensors"))
    assert len(names) == 11
    for name in names:
        assert (copied / name).read_bytes() == (at_once / name).read_bytes()
    clips, bad = list_clips(copied)
    assert not bad
    assert {clip.relations for clip in clips} == {("ground-truth", "predicted")}
    counts = json.loads((copied / "run.json").read_text())["counts"]
    assert counts["done"] == 11

    assert extract.main([*words(world, copied), *asked]) == 0
    assert json.loads((copied / "run.json").read_text())["counts"]["skipped"] == 11
    # relations=ground-truth adds no relations and keeps the predictions.
    assert extract.main([*words(world, copied), "relations=ground-truth"]) == 0
    assert ClipReader(copied / names[0]).relations == ("ground-truth", "predicted")


def test_another_predictor_replaces_the_predictions(
    world: World, copied: Path, tmp_path: Path
) -> None:
    name = sorted(copied.glob("*.safetensors"))[0].name
    before = load_clip(copied / name)
    for seed in (0, 1):
        weights = predictor_file(tmp_path / f"{seed}.safetensors", F, CU, seed=seed)
        asked = ["relations=predicted", f"relation_predictor.weights={weights}"]
        assert extract.main([*words(world, copied), *asked]) == 0
        clip = load_clip(copied / name)
        file = find_predictor(RelationPredictorConfig(str(weights)))
        assert clip.header.predictor == file.to_dict()
        wanted = predict_relations(before, load_predictor(file, "cpu"))
        assert torch.allclose(clip.predicates["predicted"], wanted, atol=1e-3)
        assert torch.equal(clip.predicates["ground-truth"], before.predicates["ground-truth"])


def test_damaged_clip_is_extracted_again_when_predictions_are_added(
    world: World, copied: Path, tmp_path: Path
) -> None:
    path = sorted(copied.glob("*.safetensors"))[0]
    whole = path.read_bytes()
    path.write_bytes(whole[:-8] + bytes(8 * [1]))
    weights = predictor_file(tmp_path / "p.safetensors", F, CU)
    asked = ["relations=predicted", f"relation_predictor.weights={weights}"]
    assert extract.main([*words(world, copied), *asked]) == 0
    assert load_clip(path).header.predictor is not None
    _, bad = list_clips(copied)
    assert not bad
    stored, fresh = load_clip(path), load_clip(world.cache / path.name)
    assert torch.equal(stored.predicates["ground-truth"], fresh.predicates["ground-truth"])
    assert torch.equal(stored.union_features, fresh.union_features)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        ({"feature_width": 64}, "box features of 128 and union features of 64 channels expected"),
        ({"detector": "0" * 64}, "a predictor trained on features of the cache's detector"),
        (
            {"objects": ("person", *VOCABULARY.objects[:0:-1])},
            "the 36 object classes of the cache expected",
        ),
        (
            {
                "predicate_groups": VOCABULARY.predicate_groups
                | {"attention": ("looking_at", "unsure", "not_looking_at")}
            },
            "the 26 predicates of the cache expected",
        ),
    ],
)
def test_incompatible_predictor_is_rejected_before_files_are_written(
    world: World, tmp_path: Path, make: dict, message: str
) -> None:
    width = make.pop("feature_width", F)
    weights = predictor_file(tmp_path / "p.safetensors", width, CU, **make)
    cache = tmp_path / "none"
    asked = ["relations=predicted", f"relation_predictor.weights={weights}"]
    with pytest.raises(UsageError, match=message):
        extract.main([*words(world, cache), *asked])
    assert not cache.exists()


def test_failed_prediction_has_an_error_reason() -> None:
    torch.manual_seed(0)
    model = STTran(small_settings(8, 4)).eval()
    clip = random_clip([3, 2], predicates=26)
    assert torch.isfinite(predict_relations(clip, model)).all()
    for bad, reason in (
        (replace(clip, box_features=clip.box_features * torch.nan), FailureReason.INTERNAL_ERROR),
        (replace(clip, box_features=clip.box_features[:, :7]), FailureReason.BAD_CACHE),
        (replace(clip, union_features=clip.union_features[:, :3]), FailureReason.BAD_CACHE),
    ):
        with pytest.raises(ItemError) as caught:
            with_predicted(bad, model, IDENTITY)
        assert caught.value.reason is reason


def test_files_without_a_predictor_are_rejected(world: World, tmp_path: Path) -> None:
    def refused(text: str, message: str) -> None:
        asked = ["relations=predicted", f"relation_predictor.weights={text}"]
        with pytest.raises(UsageError, match=message):
            extract.main([*words(world, tmp_path / "none"), *asked])

    refused("null", "not set; set relation_predictor.weights")
    refused(str(tmp_path / "no.safetensors"), "weights file not found")
    (tmp_path / "text.safetensors").write_text("hello")
    refused(str(tmp_path / "text.safetensors"), "relation_predictor.weights")
    save_file({"a": torch.zeros(1)}, tmp_path / "bare.safetensors")
    refused(str(tmp_path / "bare.safetensors"), "weights of a relation predictor expected")
    card = {"card": json.dumps({"schema": "laiar.predictor/1", "settings": {"heads": 0}})}
    save_file({"a": torch.zeros(1)}, tmp_path / "odd.safetensors", metadata=card)
    refused(str(tmp_path / "odd.safetensors"), "heads: an integer from 1 to 65536")
    refused(
        "configs/detector/world.safetensors",
        "weights of a relation predictor expected, got weights of a detector",
    )
    assert not (tmp_path / "none").exists()


def test_weights_that_differ_from_the_checksum_in_their_card_are_rejected(tmp_path: Path) -> None:
    path = predictor_file(tmp_path / "p.safetensors", F, CU)
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(bytes(data))
    config = RelationPredictorConfig(str(path))
    with pytest.raises(UsageError, match="got other weights"):
        find_predictor(config)
    path.with_suffix(".json").unlink()  # the copy of the card in the file is sufficient
    assert find_predictor(config).card.settings == small_settings(F, CU)


def test_weights_with_other_shapes_than_their_card_are_rejected(tmp_path: Path) -> None:
    path = predictor_file(tmp_path / "p.safetensors", F, CU)
    file = find_predictor(RelationPredictorConfig(str(path)))
    other = replace(file, card=replace(file.card, settings=small_settings(F, 32)))
    with pytest.raises(UsageError, match=r"union_func1\.weight: shape"):
        load_predictor(other, "cpu")


def test_predictions_on_uniform_frames_do_not_depend_on_annotated_frames() -> None:
    clip = random_clip([3, 2, 4, 2, 3], predicates=12)
    header = replace(
        clip.header,
        boxes="detected",
        num_uniform=2,
        source=replace(clip.header.source, num_frames=16),
    )
    clip = replace(clip, header=header, frame_index=torch.tensor([1, 4, 7, 12, 15]))
    assert frame_sequences(clip) == [[1, 3], [0, 2, 4]]
    torch.manual_seed(0)
    model = STTran(small_settings(8, 4)).eval()
    both = predict_relations(clip, model)
    alone = predict_relations(clip.select([1, 3]), model)
    mine = torch.isin(clip.pair_frame, torch.tensor([1, 3]))
    assert torch.allclose(both[mine], alone, atol=1e-6)
    assert bool((both > 0).all())


def test_clip_without_pairs_has_empty_predictions() -> None:
    model = STTran(small_settings(8, 4)).eval()
    for counts in ([], [0, 0], [1]):
        found = with_predicted(random_clip(counts, predicates=26), model, IDENTITY)
        assert found.predicates["predicted"].shape == (0, 26)
        assert found.header.predictor == IDENTITY


def test_training_uses_predicted_relations_and_explains_how_to_add_them(tmp_path: Path) -> None:
    cache = random_cache(tmp_path / "cache")
    learn = ["--cache", str(cache), "--run", str(tmp_path / "run"), *SMALL_MODEL]
    learn = [*learn, "train.epochs=1", "relations=predicted"]
    with pytest.raises(UsageError, match="add them without a detector"):
        train.main(learn)
    model = STTran(small_settings(8, 4)).eval()
    for video_id in read_manifest(cache):
        put(cache, with_predicted(load_clip(cache / f"{video_id}.safetensors"), model, IDENTITY))
    assert train.main(learn) == 0
    card = json.loads((tmp_path / "run" / "model.json").read_text())
    assert card["relations"] == "predicted"
    assert card["training"]["relation_predictor"] == IDENTITY
    first = sorted(i for i in read_manifest(cache) if i.startswith("TRAIN"))[0]
    other = with_predicted(load_clip(cache / f"{first}.safetensors"), model, {"weights": "v"})
    put(cache, other)
    with pytest.raises(UsageError, match="relations of one predictor expected"):
        train.main(learn)
