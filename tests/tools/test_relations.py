"""Tests of `train_relations`, `evaluate_relations` and the conversion of STTran's weights."""

import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline import extract
from pipeline.cache.folder import read_cache_info, write_cache_info
from pipeline.cache.reader import load_clip
from pipeline.errors import UsageError
from pipeline.training.log import TrainingLog
from pipeline.training.relations.word_vectors import set_class_embeddings
from pipeline.training.state import STATE_FILE
from pipeline.training.trainer import Trainer
from pipeline.weights.cards import read_tensors
from pipeline.weights.predictor_card import PredictorCard
from relations.sttran import STTran
from tests.conftest import CONFIG, World
from tests.pipeline.cache_maker import forge
from tests.pipeline.predictor_files import predictor_file, small_settings
from tools import benchmark, convert_weights, evaluate_relations, train_relations
from tools.proofs.reference import sttran as reference

SMALL = (
    "network.part_width=8", "network.union_width=4", "network.class_width=4",
    "network.position_width=4", "network.object_width=8", "network.decoder_layers=1",
    "network.heads=4", "network.feedforward=16", "training.validation_fraction=0.3",
    "training.epochs=3", "training.half=false", "training.lr=0.01", "device=cpu",
)  # fmt: skip
LEARN = ("--config", "configs/relations/world.yaml", *SMALL)


def learn(cache: Path, run: Path, *words: str) -> int:
    return train_relations.main([*LEARN, "--cache", str(cache), "--run", str(run), *words])


@pytest.fixture(scope="module")
def run(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("relations") / "run"
    assert learn(world.cache, folder) == 0
    return folder


def rows(run: Path, kind: str) -> list[dict]:
    path = run / "log.jsonl"
    lines = path.read_text().splitlines() if path.is_file() else []
    return [row for row in map(json.loads, lines) if row["kind"] == kind]


def test_training_reduces_the_loss_and_writes_a_card(run: Path) -> None:
    steps, epochs = rows(run, "step"), rows(run, "epoch")
    assert set(steps[0]["terms"]) == {"attention", "spatial", "contacting", "objects"}
    assert epochs[-1]["loss"] < epochs[0]["loss"]
    assert all(0 <= row["recall_20"] <= 1 for row in epochs)
    card = PredictorCard.read_header(run / "predictor.safetensors", "w")
    assert card is not None
    best = max(range(3), key=lambda i: (epochs[i]["recall_20"], i))
    assert card.details["best_epoch"] == best + 1
    assert card.details["validation_recall_20"] == epochs[best]["recall_20"]
    assert card.details["videos"] + card.details["validation_videos"] == 8
    assert card.detector == "random:0"


class StopError(Exception):
    """Error with which a test interrupts a training run."""


@pytest.mark.parametrize("epoch", [0, 1])
def test_resumed_training_equals_uninterrupted_training(
    world: World, run: Path, tmp_path: Path, epoch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Trainer.step

    def stops(self: Trainer, parts: list) -> dict:
        row = step(self, parts)
        if self.progress.step == epoch * self.steps_per_epoch + 1:
            raise StopError
        return row

    monkeypatch.setattr(Trainer, "step", stops)
    with pytest.raises(StopError):
        learn(world.cache, tmp_path / "run")
    assert len(rows(tmp_path / "run", "epoch")) == epoch
    monkeypatch.undo()
    torch.manual_seed(99)
    assert learn(world.cache, tmp_path / "run") == 0
    name = "predictor.safetensors"
    assert (tmp_path / "run" / name).read_bytes() == (run / name).read_bytes()
    assert [r["step"] for r in rows(tmp_path / "run", "step")] == list(
        range(len(rows(run, "step")))
    )
    with pytest.raises(UsageError, match="a training run with other settings"):
        learn(world.cache, tmp_path / "run", "training.lr=0.5")


def test_training_interrupted_around_a_checkpoint_logs_every_epoch_once(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, epochs = Trainer.save, [0, 1]

    def stops(trainer: Trainer) -> None:
        if trainer.progress.epoch not in epochs:
            raise StopError
        save(trainer)
        if trainer.progress.epoch == 1:
            epochs.remove(1)  # the next call stops before saving
            raise StopError

    monkeypatch.setattr(Trainer, "save", stops)
    for _ in range(2):
        with pytest.raises(StopError):
            learn(world.cache, tmp_path / "run")
    monkeypatch.undo()
    assert learn(world.cache, tmp_path / "run") == 0
    assert [row["epoch"] for row in rows(tmp_path / "run", "epoch")] == [1, 2, 3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "laiar.state/1"}, "the checkpoint of another command .* use another --run"),
        ({"progress": {"best": {}}}, "missing, the first is .*; delete"),
        ({"progress": {"epoch": -1}}, "epoch: 0 to .*, got -1"),
    ],
)
def test_invalid_checkpoints_are_rejected(
    world: World, run: Path, tmp_path: Path, change: dict, message: str
) -> None:
    copied = Path(shutil.copytree(run, tmp_path / "run"))
    tree = torch.load(copied / STATE_FILE, weights_only=True)
    change |= {"progress": tree["progress"] | change.get("progress", {})}
    torch.save(tree | change, copied / STATE_FILE)
    with pytest.raises(UsageError, match=message):
        learn(world.cache, copied)


def test_run_that_fails_before_its_first_step_can_be_repeated(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object) -> None:
        raise UsageError("no network")

    monkeypatch.setattr(train_relations, "_train", refuses)
    with pytest.raises(UsageError, match="no network"):
        learn(world.cache, tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["run.json"]
    monkeypatch.undo()
    # A log can exist without a checkpoint.
    (tmp_path / "run" / "log.jsonl").write_text('{"kind": "step", "step": 0}\n')
    assert learn(world.cache, tmp_path / "run", "training.epochs=1") == 0
    assert "loss" in rows(tmp_path / "run", "step")[0]


@pytest.mark.parametrize("moment", ["step", "epoch", "state"])
def test_training_resumes_after_an_interrupt_around_the_first_epoch(
    world: World, run: Path, tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = TrainingLog.add

    def adds(log: TrainingLog, kind: str, **row: Any) -> None:
        if kind == "epoch" and moment == "state":
            raise KeyboardInterrupt
        add(log, kind, **row)
        if kind == moment:
            raise KeyboardInterrupt

    monkeypatch.setattr(TrainingLog, "add", adds)
    with pytest.raises(KeyboardInterrupt):
        learn(world.cache, tmp_path / "run")
    monkeypatch.undo()
    (tmp_path / "run" / ".state.pt.tmp-01234567-99999999-01234567").touch()
    assert learn(world.cache, tmp_path / "run") == 0
    name = "predictor.safetensors"
    assert (tmp_path / "run" / name).read_bytes() == (run / name).read_bytes()
    for kind in ("step", "epoch"):
        told, wanted = rows(tmp_path / "run", kind), rows(run, kind)
        assert [(r["step"], r["loss"]) for r in told] == [(r["step"], r["loss"]) for r in wanted]


@pytest.mark.parametrize("words", [("training.multi_label=margin", "training.schedule=plateau"),
                                   ("training.amp=bf16", "training.object_loss=0")])  # fmt: skip
def test_training_runs_with_published_losses_and_half_precision(
    world: World, tmp_path: Path, words: tuple[str, ...]
) -> None:
    assert learn(world.cache, tmp_path / "run", "training.epochs=1", *words) == 0
    terms = rows(tmp_path / "run", "step")[0]["terms"]
    assert ("objects" in terms) == ("training.object_loss=0" not in words)


def test_invalid_settings_and_caches_are_rejected(world: World, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="heads: a divisor of the width"):
        learn(world.cache, tmp_path / "run", "network.heads=7")
    for word, message in (
        ("training.epochs=0", r"training\.epochs: at least 1"),
        ("training.seed=-1", r"training\.seed: 0 to 4294967295"),
        ("training.seed=100000000000000000000", r"training\.seed: 0 to 4294967295"),
        ("training.clip_norm=inf", r"training\.clip_norm: 0 to"),
        ("training.clip_norm=nan", r"training\.clip_norm: 0 to"),
    ):
        with pytest.raises(UsageError, match=message):
            learn(world.cache, tmp_path / "run", word)
    with pytest.raises(UsageError, match="different clips expected, but 8 clips occur twice"):
        learn(world.cache, tmp_path / "run", "--cache", str(world.cache.parent / "." / "cache"))
    cache = Path(shutil.copytree(world.cache, tmp_path / "cache"))
    info = read_cache_info(cache)
    objects = (*info.objects[:3], "sofa", *info.objects[4:])
    write_cache_info(cache, replace(info, objects=objects))
    with pytest.raises(UsageError, match="the vocabulary 'action_genome' expected"):
        learn(cache, tmp_path / "run")
    write_cache_info(cache, info)
    path = sorted(cache.glob("*.safetensors"))[0]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UsageError, match="undamaged clips expected, 1 damaged"):
        learn(cache, tmp_path / "run")
    shutil.rmtree(cache)
    shutil.copytree(world.cache, cache)
    clip = load_clip(path)
    forge(cache, path.stem, box_features=clip.box_features[:, 1:].half())
    with pytest.raises(UsageError, match=r"of widths \(12[78], 64, 26\) expected"):
        learn(cache, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes").touch()
    with pytest.raises(UsageError, match="an empty folder"):
        learn(world.cache, tmp_path / "run")


def measure(cache: Path, weights: Path, *words: str) -> dict:
    path = weights.with_name("measured.json")
    given = ["--cache", str(cache), "--weights", str(weights), "--device", "cpu"]
    assert evaluate_relations.main([*given, *words, "--json", str(path)]) == 0
    return json.loads(path.read_text())


def test_annotated_boxes_are_evaluated_in_predcls_and_sgcls(
    world: World, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = run / "predictor.safetensors"
    found = measure(world.cache, weights, "--mode", "predcls")["results"]
    out = capsys.readouterr().out
    assert "STTran, on Action Genome" in out
    assert "71.8" in out
    ceiling = found["ceiling"]["recall"]["with"]["100"]
    for name in ("predictor", "frequency"):
        assert 0 < found[name]["recall"]["with"]["100"] <= ceiling <= 1
        assert found[name]["recall"]["with"]["10"] <= found[name]["recall"]["with"]["20"]
        assert found[name]["recall"]["no"]["100"] == 1
    assert found["ceiling"]["accuracy"] == {"attention": 1, "spatial": 1, "contacting": 1}
    classes = measure(world.cache, weights, "--mode", "sgcls", "--min-side", "4")
    assert classes["results"]["predictor"]["recall"]["with"]["100"] <= ceiling
    assert classes["min_side"] == 4


@pytest.fixture(scope="module")
def detected(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("detected") / "cache"
    data = ["--videos", str(world.videos), "--annotations", str(world.annotations)]
    words = ["--config", CONFIG, *data, "--cache", str(cache), "frames.num=1", "device=cpu"]
    assert extract.main(words) == 0
    return cache


def test_detected_boxes_are_evaluated_against_annotations(
    world: World, detected: Path, tmp_path: Path
) -> None:
    weights = predictor_file(tmp_path / "p.safetensors", 256, 64)
    asked = ["--mode", "sgdet", "--annotations", str(world.annotations)]
    found = measure(detected, weights, *asked)
    assert found["results"]["ceiling"]["frames"] > 10
    assert found["results"]["frequency"]["recall"]["with"]["50"] > 0.2
    with pytest.raises(UsageError, match="--min-side: pixels"):
        measure(detected, weights, *asked, "--min-side", "nan")
    with pytest.raises(UsageError, match="--annotations DIR"):
        measure(detected, weights, "--mode", "sgdet")
    with pytest.raises(UsageError, match="boxes=ground-truth expected"):
        measure(detected, weights, "--mode", "sgcls")
    with pytest.raises(UsageError, match="boxes=detected expected"):
        measure(world.cache, weights, *asked)
    with pytest.raises(UsageError, match="box features of 128"):
        measure(world.cache, weights, "--mode", "predcls")


def test_training_on_detected_boxes_has_no_object_loss(
    world: World, detected: Path, tmp_path: Path
) -> None:
    assert learn(detected, tmp_path / "run", "training.epochs=1") == 0
    assert "objects" not in rows(tmp_path / "run", "step")[0]["terms"]
    with pytest.raises(UsageError, match="features of one detector expected"):
        learn(detected, tmp_path / "other", "--cache", str(world.cache))


def test_published_weights_are_converted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    model = STTran(small_settings(8, 4)).eval()
    torch.save({"state_dict": model.state_dict()}, tmp_path / "sttran.tar")
    out = tmp_path / "p.safetensors"
    assert convert_weights.main([str(tmp_path / "sttran.tar"), str(out), "--heads", "4"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["predictor"] == "STTran"
    card = PredictorCard.read_header(out, "w")
    assert card is not None
    assert card.settings == small_settings(8, 4)
    assert card.detector is None
    stored = read_tensors(out, "w")
    assert all(torch.equal(stored[n], v) for n, v in model.state_dict().items() if n in stored)
    assert len(stored) == len(model.state_dict()) - 4  # four batch counters are not stored


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("lost", r"1 missing, the first is 'vr_fc\.bias'"),
        ("nan", "finite numbers of float32 expected"),
        ("words", r"object classes and predicates \(36, 3, 6, 17\) of the vocabulary expected"),
        ("code", "a checkpoint of plain tensors expected"),
        ("heads", "heads: a divisor of the width"),
    ],
)
def test_invalid_weights_are_rejected_and_no_file_is_written(
    tmp_path: Path, change: str, message: str
) -> None:
    state = STTran(small_settings(8, 4)).state_dict()
    if change == "lost":
        del state["vr_fc.bias"]
    elif change == "nan":
        state["obj_fc.bias"][3] = float("nan")
    elif change == "words":
        state["s_rel_compress.weight"] = torch.zeros(7, 32)
    path, out = tmp_path / "sttran.tar", tmp_path / "p.safetensors"
    torch.save({"state_dict": state}, path)
    if change == "code":
        path.write_bytes(pickle.dumps({"state_dict": print}))
    with pytest.raises(UsageError, match=message):
        convert_weights.main([str(path), str(out), "--heads", "7" if change == "heads" else "4"])
    assert not out.exists()


def test_word_vectors_initialize_class_embeddings_by_name(tmp_path: Path) -> None:
    model = STTran(small_settings(8, 4))
    before = model.obj_embed.weight.detach().clone()
    path = tmp_path / "glove.txt"
    path.write_text("the 0 0 0 0\nbox 1 2 3 4\ncloset -1 0 0.5 1e-1\n")
    objects = ["person", "box", "closet/cabinet"]
    assert set_class_embeddings(model, path, objects) == ["person"]
    for table, shift in ((model.obj_embed, 1), (model.object_classifier.obj_embed, 0)):
        assert table.weight[1 + shift].tolist() == [1, 2, 3, 4]
        assert table.weight[2 + shift].tolist() == pytest.approx([-1, 0, 0.5, 0.1])
    assert torch.equal(model.obj_embed.weight[:2], before[:2])
    path.write_text("box 1 2 3\n")
    with pytest.raises(UsageError, match="4 numbers per word expected"):
        set_class_embeddings(model, path, objects)
    path.write_text("box 1 2 3 nan\n")
    with pytest.raises(UsageError, match="the vector of 'box' is not finite"):
        set_class_embeddings(model, path, objects)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="a text file of word vectors expected"):
        set_class_embeddings(model, path, objects)


def test_reference_check_detects_a_wrong_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks of `tools.check_reference` fail if the encodings of two frames are swapped."""
    folder = Path(__file__).resolve().parents[1] / "reference"
    states = json.loads((folder / "state_dicts.json").read_text())
    arrays = dict(np.load(folder / "sttran_predcls.npz"))
    build = reference.build_reference_predictor

    def swapped(*args: Any) -> STTran:
        model = build(*args)
        table = model.glocal_transformer.position_embedding.weight
        table.data = table.data.flip(0)
        return model

    monkeypatch.setattr(reference, "build_reference_predictor", swapped)
    found = reference.check_predcls(arrays, states)
    assert found["mid/spatial_encoder"][0] <= found["mid/spatial_encoder"][1]
    assert found["out/attention"][0] > 10 * found["out/attention"][1]


def test_benchmark_compares_the_predictor_with_the_loops_of_sttran(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "PredictorSettings", lambda: small_settings(8, 4))
    path = tmp_path / "b.json"
    words = ["relations", "--num-videos", "2", "--num-frames", "3", "--rounds", "1"]
    assert benchmark.main([*words, "--device", "cpu", "--json", str(path)]) == 0
    tree = json.loads(path.read_text())
    assert tree["largest_difference"] < 1e-5
    assert tree["rows"]["original formulation"]["ratio"] == 1
    assert "video by video" in capsys.readouterr().out
