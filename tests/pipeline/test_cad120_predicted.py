"""Predicted relations and detected boxes of CAD-120, on a synthetic world of four videos."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline import train
from pipeline.cache.folder import read_cache_info
from pipeline.cache.listing import list_clips
from pipeline.cache.manifest import read_manifest
from pipeline.cache.reader import load_clip
from pipeline.config.loading import load_settings
from pipeline.errors import UsageError
from pipeline.extract import main as extract
from pipeline.training.relations.settings import RelationTraining
from pipeline.weights.cards import read_tensors, save_carded
from pipeline.weights.predictor_card import PredictorCard
from tests.pipeline.test_cad120 import CONFIG, RANDOM, SMALL, clip_lines, run_extract
from tools import cache as cache_command
from tools import evaluate_relations, train_relations

LEARN = (
    "network.part_width=8", "network.union_width=4", "network.class_width=4", "network.heads=4",
    "network.feedforward=16", "training.epochs=2", "training.validation_fraction=0.4",
    "device=cpu",
)  # fmt: skip
RELATIONS = "configs/relations/cad120_world.yaml"
#: Columns of the predicates of each group.
COLUMNS = {"hand": [0, 1], "head": [2, 3], "microwave": [4, 5], "state": [6, 7]}


@pytest.fixture(scope="module")
def world(cad120_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cad120") / "world"
    folder.symlink_to(cad120_world)
    return folder


@pytest.fixture(scope="module")
def cache(world: Path) -> Path:
    """Cache with the predicted relations of `predictor`."""
    folder = world.parent / "cache"
    assert run_extract(world, folder, "frames.num=3") == 0
    assert learn(folder, world.parent / "relations", "fold=1") == 0
    weights = world.parent / "relations" / "predictor.safetensors"
    asked = ["relations=predicted", f"relation_predictor.weights={weights}"]
    assert run_extract(world, folder, "frames.num=3", *asked) == 0
    return folder


@pytest.fixture(scope="module")
def predictor(cache: Path) -> Path:
    return cache.parent / "relations" / "predictor.safetensors"


def learn(cache: Path, run: Path, *words: str) -> int:
    given = ["--config", RELATIONS, "--cache", str(cache), "--run", str(run)]
    return train_relations.main([*given, *LEARN, *words])


def test_predictor_has_the_groups_of_the_vocabulary(predictor: Path) -> None:
    card = PredictorCard.read_header(predictor, "w")
    assert card is not None
    assert card.settings.groups == dict.fromkeys(COLUMNS, 2)
    assert card.settings.exclusive == (*COLUMNS,)
    assert {(kind[0], kind[2]) for kind in card.settings.kinds} == {
        (1, ("hand",)), (2, ("head",)), (8, ("microwave",)), (None, ("state",))
    }  # fmt: skip
    assert card.details["fold"] == "1"
    assert PredictorCard.from_dict(json.loads(json.dumps(card.to_dict()))) == card
    heads = [value for name, value in read_tensors(predictor, "w").items() if "compress" in name]
    assert len(heads) == 8


def test_predicates_of_other_groups_are_zero_as_in_the_annotation(cache: Path) -> None:
    seen = set()
    for entry in list_clips(cache)[0]:
        clip = load_clip(entry.path)
        given, found = clip.predicates["ground-truth"], clip.predicates["predicted"]
        assert len(given) == len(found) > 0
        for known, said in zip(given.tolist(), found.tolist(), strict=True):
            for group, columns in COLUMNS.items():
                values = [said[column] for column in columns]
                if any(known[column] for column in columns):
                    assert sum(values) == pytest.approx(1, abs=1e-3)  # stored in half precision
                    assert min(values) > 0
                    seen.add(group)
                else:
                    assert values == [0, 0]
    assert seen == {*COLUMNS}


def test_share_of_right_predicates_is_that_of_the_test_subjects(
    world: Path, cache: Path, predictor: Path
) -> None:
    videos = {line[2] for line in clip_lines(world) if line[0] == "Subject1"}
    right, total = dict.fromkeys(COLUMNS, 0), dict.fromkeys(COLUMNS, 0)
    for video in videos:
        clip = load_clip(cache / f"{video}.safetensors")
        given, found = (clip.predicates[s].tolist() for s in ("ground-truth", "predicted"))
        for known, said in zip(given, found, strict=True):
            for group, (first, second) in COLUMNS.items():
                if known[first] or known[second]:
                    total[group] += 1
                    right[group] += known[first] == (said[first] > said[second])
    shares = json.loads((predictor.parent / "run.json").read_text())["test_accuracy"]
    assert shares.keys() == {*COLUMNS}
    for group in COLUMNS:
        expected = right[group] / total[group] if total[group] else None
        assert shares[group] == pytest.approx(expected)


def test_fold_selects_the_training_subjects(world: Path, cache: Path, tmp_path: Path) -> None:
    words = [*LEARN, "fold=2"]
    config = load_settings(RelationTraining, Path(RELATIONS), words)
    clips = train_relations.prepare_relation_training(config, [cache]).clips
    trained = [entry.header.subject for entry in (*clips.training, *clips.validation)]
    assert sorted(map(str, trained)) == ["Subject1", "Subject4", "Subject5"]
    assert [entry.header.subject for entry in clips.test] == ["Subject3"]
    for word, got in (("fold=9", "got 9"), ("fold=null", "got none")):
        with pytest.raises(UsageError, match=f"fold: one of 1, 2, 3, 4 expected, {got}"):
            learn(cache, tmp_path / "run", word)


def test_network_is_trained_on_predicted_relations(cache: Path, tmp_path: Path) -> None:
    words = ["--config", CONFIG, "--cache", str(cache), "--run", str(tmp_path / "run"), *SMALL]
    words += [*RANDOM, "fold=1", "model.part_width=8", "model.union_width=4"]
    assert train.main([*words, "relations=predicted"]) == 0
    card = json.loads((tmp_path / "run" / "model.json").read_text())
    assert card["relations"] == "predicted"


def test_predictor_of_other_kinds_of_pairs_is_rejected(
    world: Path, cache: Path, predictor: Path, tmp_path: Path
) -> None:
    card = PredictorCard.read_header(predictor, "w")
    assert card is not None
    fewer = replace(card.settings, kinds=card.settings.kinds[:1])
    path = tmp_path / "hand.safetensors"
    save_carded(path, read_tensors(predictor, "w"), replace(card, settings=fewer))
    asked = ["relations=predicted", f"relation_predictor.weights={path}"]
    message = "kinds of pairs of the cache expected; first difference: pairs head - bowl"
    with pytest.raises(UsageError, match=message):
        run_extract(world, tmp_path / "cache", "frames.num=3", *asked)
    with pytest.raises(UsageError, match=message):
        cache_command.main(["add", str(cache), *asked])
    assert not (tmp_path / "cache").exists()
    assert run_extract(world, tmp_path / "hands", "frames.num=3", "pairs=[hand]", *asked) == 0
    clip = load_clip(tmp_path / "hands" / f"{min(read_manifest(cache))}.safetensors")
    assert torch.equal(clip.predicates["predicted"][:, 2:].sum(1), torch.zeros(len(clip.pairs)))


def test_recall_is_refused_for_other_groups(cache: Path, predictor: Path) -> None:
    words = ["--weights", str(predictor), "--cache", str(cache), "--mode", "predcls"]
    with pytest.raises(UsageError, match=r"R@K is defined for .* has the groups hand, head, micro"):
        evaluate_relations.main(words)


def test_persons_have_the_relations_of_hands_and_head(world: Path, tmp_path: Path) -> None:
    pairs = ("frames.num=3", "pairs=[person]")
    assert run_extract(world, tmp_path / "cache", *pairs) == 0
    assert learn(tmp_path / "cache", tmp_path / "run", "fold=1", "training.epochs=1") == 0
    weights = tmp_path / "run" / "predictor.safetensors"
    asked = ["relations=predicted", f"relation_predictor.weights={weights}"]
    words = ["add", str(tmp_path / "cache"), *asked, "device=cpu"]
    assert cache_command.main(words) == 0
    for entry in list_clips(tmp_path / "cache")[0]:
        said = load_clip(entry.path).predicates["predicted"]
        assert bool((said[:, :4] > 0).all())
        assert not bool(said[:, 4:].any())


def test_cache_without_annotated_subjects_of_the_fold_is_refused(
    world: Path, tmp_path: Path
) -> None:
    frames = world / "frames"
    words = ["--videos", str(frames), "--annotations", str(world / "annotations"), *RANDOM]
    words += ["--cache", str(tmp_path / "cache"), "--limit", "1", "frames.num=3"]
    assert extract(["--config", CONFIG, *words]) == 0
    subject = list_clips(tmp_path / "cache")[0][0].header.subject
    fold = {"Subject1": "1", "Subject3": "2", "Subject4": "3", "Subject5": "4"}[str(subject)]
    with pytest.raises(UsageError, match="the 0 training clips"):
        learn(tmp_path / "cache", tmp_path / "run", f"fold={fold}")


def test_included_detector_finds_people_and_hands(world: Path, tmp_path: Path) -> None:
    paths = [
        "--videos",
        str(next((world / "frames").glob("*/*/*"))),
        "--cache",
        str(tmp_path / "c"),
    ]
    less = ["boxes=detected", "relations=none", "pairs=[person]", "frames.num=3", "device=cpu"]
    assert extract(["--config", CONFIG, *paths, *less]) == 0
    clip = load_clip(next((tmp_path / "c").glob("*.safetensors")))
    classes = read_cache_info(tmp_path / "c").objects
    for name in ("person", "hand", "head"):
        there = (clip.labels == classes.index(name)) & (clip.scores > 0.5)
        assert int(there.sum()) >= 3
