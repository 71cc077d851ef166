import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from model.criterion import LaIARCriterion
from pipeline import evaluate, train
from pipeline.cache.folder import ExtractionSettings
from pipeline.cache.listing import list_clips, split_held_out
from pipeline.cache.manifest import Manifest
from pipeline.cache.reader import load_clip
from pipeline.errors import StageError, UsageError
from pipeline.explanation.familiarity import load_familiarity
from pipeline.runtime.files import file_sha256
from pipeline.samples.dataset import ClipDataset
from pipeline.training import trainer
from pipeline.training.laiar import task as laiar_task
from pipeline.training.laiar.task import LaIARTask
from pipeline.training.log import TrainingLog
from pipeline.training.state import save_state
from pipeline.weights.run_folder import load_bank, load_model, read_card
from tests.pipeline.cache_maker import SMALL, forge, labelled_clip, manifest_row, put, random_cache

SELECTION = ("model.temporal_selection=true", "model.spatial_selection=true")
TERMS = {"video", "language", "similarity", "selection", "cross_modal", "excerpts"}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_cache(tmp_path_factory.mktemp("train") / "cache")


def fit(cache: Path, run: Path, *words: str) -> int:
    config = ["--config", "configs/charades_oracle.yaml"]
    return train.main([*config, "--cache", str(cache), "--run", str(run), *SMALL, *words])


@pytest.fixture(scope="module")
def finished(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("finished") / "run"
    assert fit(cache, run, "train.epochs=2") == 0
    return run


def log_rows(run: Path) -> list[dict]:
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    times = ("seconds", "waiting_s", "training_s")
    return [{k: v for k, v in row.items() if k not in times} for row in rows]


def test_training_writes_all_files(cache: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert fit(cache, run, "train.epochs=2", "train.validation_fraction=0.3") == 0
    tree = json.loads((run / "run.json").read_text())
    assert tree["counts"] == {"found": 10, "done": 10, "skipped": 0, "failed": 0}
    assert (tree["stage"], tree["status"]) == ("train", "finished")
    assert tree["warnings"] == ["RANDOM_WEIGHTS"]
    steps = [row for row in log_rows(run) if row["kind"] == "step"]
    epochs = [row for row in log_rows(run) if row["kind"] == "epoch"]
    card = read_card(run)
    videos = card.training["videos"]
    assert videos + card.training["validation_videos"] == 10
    assert 0 < videos < 10
    assert len(epochs) == 2
    assert len(steps) == 2 * -(-videos // 4)
    for row in steps:
        assert set(row["terms"]) == TERMS
        assert row["loss"] == pytest.approx(sum(row["terms"].values()), rel=1e-5)
    assert 0 <= epochs[0]["validation_map"] <= 1
    model, _ = load_model(run, "cpu")
    assert not model.training
    assert len(load_bank(run, card)) > 10
    calibration = json.loads((run / "calibration.json").read_text())
    contacting = calibration["groups"]["contacting"]
    assert sum(b["tokens"] for b in contacting["bins"]) == contacting["tokens"] > 0
    scores = calibration["scores"]
    assert scores["videos"] == card.training["validation_videos"]
    assert scores["error_after"] is not None
    assert set(load_familiarity(run, card).normals) == {"token", "box"}
    assert not list(run.glob("*tmp*"))


def test_resumed_training_equals_uninterrupted_training(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    words = ("train.epochs=3", "train.ema=0.9")
    assert fit(cache, whole, *words) == 0
    add = TrainingLog.add

    def interrupted(self: TrainingLog, kind: str, **row: object) -> None:
        if kind == "step" and row["step"] == 3:
            raise KeyboardInterrupt
        add(self, kind, **row)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingLog, "add", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit(cache, broken, *words)
    assert json.loads((broken / "run.json").read_text())["status"] == "interrupted"
    assert fit(cache, broken, *words, "--resume") == 0
    ours, theirs = (load_file(run / "model.safetensors") for run in (broken, whole))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert log_rows(broken) == log_rows(whole)
    for name in ("label_bank.safetensors", "calibration.json", "familiarity.safetensors"):
        assert file_sha256(broken / name) == file_sha256(whole / name)
    before = file_sha256(whole / "model.safetensors")
    capsys.readouterr()
    assert fit(cache, whole, *words) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert file_sha256(whole / "model.safetensors") == before
    with pytest.raises(UsageError, match=r"other settings .*train\.epochs=3 there, 4 here"):
        fit(cache, whole, *words, "train.epochs=4")
    assert json.loads((whole / "run.json").read_text())["status"] == "finished"
    (whole / "state.pt").write_bytes(b"damaged")
    with pytest.raises(UsageError, match=r"state\.pt: a complete .* checkpoint expected"):
        fit(cache, whole, *words)


def test_log_contains_every_epoch_after_a_kill_that_follows_a_checkpoint(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, count = tmp_path / "run", iter(range(9))

    def killed(*words: Any) -> None:
        save_state(*words)
        if next(count) == 2:  # the first checkpoint is written before training
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "save_state", killed)
        with pytest.raises(KeyboardInterrupt):
            fit(cache, run, "train.epochs=3")
    assert fit(cache, run, "train.epochs=3", "--resume") == 0
    assert [row["epoch"] for row in log_rows(run) if row["kind"] == "epoch"] == [1, 2, 3]


def test_seed_determines_the_weights(cache: Path, tmp_path: Path) -> None:
    runs = [tmp_path / name for name in "abc"]
    for run, seed in zip(runs, (1, 1, 2), strict=True):
        assert fit(cache, run, "train.epochs=1", f"train.seed={seed}") == 0
    digests = [file_sha256(run / "model.safetensors") for run in runs]
    assert digests[0] == digests[1] != digests[2]


def test_damaged_clip_is_listed_and_training_uses_the_other_clips(tmp_path: Path) -> None:
    cache, run = random_cache(tmp_path / "cache"), tmp_path / "run"
    (cache / "TRAIN003.safetensors").write_bytes(b"")
    assert fit(cache, run, "train.epochs=1") == 1
    tree = json.loads((run / "run.json").read_text())
    assert tree["counts"] == {"found": 10, "done": 9, "skipped": 0, "failed": 1}
    row = json.loads((run / "failures.jsonl").read_text())
    assert (row["id"], row["reason"]) == ("TRAIN003", "bad-cache")
    assert fit(cache, tmp_path / "strict", "train.epochs=1", "max_failures=0") == 3
    assert not (tmp_path / "strict" / "state.pt").exists()
    assert json.loads((tmp_path / "strict" / "run.json").read_text())["exit_code"] == 3


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("relations=none", "training requires relations"),
        ("relations=predicted", "add them without a detector"),
        ("boxes=detected", "this cache has boxes=ground-truth"),
        ("detection.weights=random detection.seed=4", "the detector of this cache"),
        ("train.validation_fraction=1", "leaves no video"),
        ("loss.multi_label=false loss.excerpts=0", "one action per video"),
        ("loss.multi_label=false loss.excerpts=0 train.reversed_share=1", "reversed_share=0"),
        ("loss.multi_label=false loss.excerpts=0.5", "loss.excerpts=0 expected with loss"),
        ("--resume", "state.pt not found in"),
    ],
)
def test_invalid_training_is_rejected_before_it_starts(
    cache: Path, tmp_path: Path, word: str, says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        fit(cache, tmp_path / "run", *word.split())
    assert not (tmp_path / "run").exists()


def test_error_for_a_cache_without_labels_or_relations_explains_how_to_add_them(
    tmp_path: Path,
) -> None:
    unlabelled = random_cache(tmp_path / "unlabelled", classes=())
    with pytest.raises(UsageError, match="--annotations"):
        fit(unlabelled, tmp_path / "run")
    empty = random_cache(tmp_path / "empty", train=0)
    with pytest.raises(UsageError, match="no labelled videos of 'train'"):
        fit(empty, tmp_path / "run")
    silent = random_cache(tmp_path / "silent", train=0)
    clip = labelled_clip(0, "train")
    clip.predicates.clear()
    put(silent, clip)
    with pytest.raises(UsageError, match="relations=ground-truth expected"):
        fit(silent, tmp_path / "run")
    Manifest(silent).append(manifest_row("TRAIN009"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="an empty folder"):
        fit(random_cache(tmp_path / "good"), tmp_path / "other")


def test_error_for_a_non_finite_loss_names_the_videos(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Diverging(LaIARCriterion):
        def forward(self, *args: torch.Tensor) -> dict[str, torch.Tensor]:  # type: ignore[override]
            terms = super().forward(*args)  # type: ignore[arg-type]
            return terms | {"video": terms["video"] * float("nan")}

    monkeypatch.setattr(laiar_task, "LaIARCriterion", Diverging)
    with pytest.raises(StageError, match="TRAIN00") as caught:
        fit(cache, tmp_path / "run", "train.epochs=1")
    assert "finite" in str(caught.value)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "crashed"


def test_all_tokens_are_kept_during_selection_warmup(cache: Path, tmp_path: Path) -> None:
    words = ("train.epochs=1", "model.initial_keep=1.0e-6", "train.least_share=1", *SELECTION)
    for share, are_kept in ((0, False), (1, True)):
        run = tmp_path / str(share)
        gumbel = ("model.selector=gumbel", f"train.selection_warmup={share}")
        assert fit(cache, run, *words, *gumbel) == 0
        steps = [row for row in log_rows(run) if row["kind"] == "step"]
        assert all((row["kept"] == row["tokens"]) == are_kept for row in steps)


def test_damaged_clip_of_the_test_split_is_not_a_failure(tmp_path: Path) -> None:
    cache, run = random_cache(tmp_path / "cache"), tmp_path / "run"
    (cache / "TEST001.safetensors").write_bytes(b"damaged")
    assert fit(cache, run, "train.epochs=1") == 0
    counts = json.loads((run / "run.json").read_text())["counts"]
    assert counts == {"found": 10, "done": 10, "skipped": 0, "failed": 0}


def test_saved_weights_are_those_of_the_best_epoch(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, values = tmp_path / "run", [0.3, 0.9, 0.895, 0.889]
    seen: list[dict[str, torch.Tensor]] = []

    def validate(self: LaIARTask) -> tuple[float, dict[str, Any]]:
        state = self.model.state_dict()
        seen.append({name: value.clone() for name, value in state.items()})
        return values[len(seen) - 1], {"validation_map": values[len(seen) - 1]}

    monkeypatch.setattr(LaIARTask, "validate", validate)
    add = TrainingLog.add

    def interrupted(self: TrainingLog, kind: str, **row: object) -> None:
        if kind == "step" and row["epoch"] == 3 and len(seen) == 2:
            raise KeyboardInterrupt
        add(self, kind, **row)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingLog, "add", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit(cache, run, "train.epochs=4", "train.validation_fraction=0.3")
    assert fit(cache, run, "train.epochs=4", "train.validation_fraction=0.3") == 0
    best, last = load_file(run / "model.safetensors"), torch.load(run / "state.pt")
    assert all(torch.equal(best[name], seen[2][name]) for name in best)
    assert all(torch.equal(last["model"][name], seen[3][name]) for name in best)
    progress = last["progress"]
    assert (progress["epoch"], progress["best_epoch"], progress["best_value"]) == (4, 3, 0.895)
    assert progress["highest"] == 0.9
    epochs = [row for row in log_rows(run) if row["kind"] == "epoch"]
    assert [row["best_epoch"] for row in epochs] == [1, 2, 3, 3]
    # The checkpoint also contains the best weights.
    (run / "model.safetensors").unlink()
    (run / "model.safetensors").write_bytes(b"damaged")
    (run / "calibration.json").unlink()
    assert fit(cache, run, "train.epochs=4", "train.validation_fraction=0.3") == 0
    again = load_file(run / "model.safetensors")
    assert all(torch.equal(best[name], again[name]) for name in best)


def test_unreadable_validation_clip_stops_the_training(tmp_path: Path) -> None:
    cache = random_cache(tmp_path / "cache")
    held_out = split_held_out(list_clips(cache, split="train")[0], 0.3)[1][0].video_id
    clip = load_clip(cache / f"{held_out}.safetensors")
    forge(cache, held_out, box_features=torch.full_like(clip.box_features, float("nan")).half())
    with pytest.raises(StageError, match=held_out):
        fit(cache, tmp_path / "run", "train.epochs=1", "train.validation_fraction=0.3")


def test_finished_training_repeats_warnings_and_restores_missing_files(
    cache: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = ("train.epochs=1", *SELECTION, "train.token_price=0")  # keeps every token
    for _ in range(2):
        assert fit(cache, run, *words) == 1
        tree = json.loads((run / "run.json").read_text())
        warnings = ["RANDOM_WEIGHTS", "WHOLE_SELECTION", "DEGENERATE_SELECTION"]
        assert (tree["warnings"], tree["exit_code"]) == (warnings, 1)
    for name in (
        "label_bank.safetensors",
        "familiarity.safetensors",
        "model.safetensors",
        "config.yaml",
    ):
        before = (run / name).read_bytes()
        (run / name).unlink()
        assert fit(cache, run, *words) == 1
        assert (run / name).read_bytes() == before


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"epoch": -5}, "epoch: 0 to 2 expected, got -5"),
        ({"epoch": 99}, "epoch: 0 to 2 expected, got 99"),
        ({"epoch": 1.5}, "epoch: 0 to 2 expected, got 1.5"),
        ({"step": 3}, "step: a step of epoch 3 expected, got 3"),
        ({"best_epoch": 3}, "best_epoch: 0 to 2 expected, got 3"),
        ({"best_value": 99.0}, "best_value, highest: 0 to 1 expected, got 99.0"),
        ({"highest": "high"}, "best_value, highest: 0 to 1 expected, got 'high'"),
        ({"best": {}}, "missing, the first is"),
    ],
)
def test_inconsistent_checkpoint_is_rejected(
    finished: Path, cache: Path, tmp_path: Path, change: dict, says: str
) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    tree = torch.load(run / "state.pt")
    torch.save(tree | {"progress": tree["progress"] | change}, run / "state.pt")
    with pytest.raises(UsageError, match=rf"state\.pt: .*{says}"):
        fit(cache, run, "train.epochs=2")


def test_validation_map_equals_map_of_evaluate(tmp_path: Path) -> None:
    """The clips have detected boxes and annotated relations on frames that are not uniform."""
    cache = random_cache(
        tmp_path / "cache", train=0, test=0, settings=ExtractionSettings("detected")
    )
    uniform = [12, 37, 62, 87]
    for number in range(16):
        clip = labelled_clip(number, "train")
        known = clip.predicates["ground-truth"]
        # Only the two annotated frames have relations. They are not uniform frames.
        known[torch.isin(clip.pair_frame, torch.tensor([0, 2, 4, 5]))] = 0
        header = replace(clip.header, boxes="detected", num_uniform=4)
        index = torch.tensor([12, 20, 37, 50, 62, 87])
        put(cache, replace(clip, header=header, frame_index=index))
    run = tmp_path / "run"
    words = ("boxes=detected", "train.epochs=3", "train.validation_fraction=0.5", "train.lr=0.01")
    assert fit(cache, run, *words) == 0
    entries, _ = list_clips(cache)
    shown = ClipDataset(entries, 5, num_frames=4, max_pairs=10).read(entries[0])
    assert shown.frame_index.tolist() == uniform
    taught = ClipDataset(
        entries, 5, num_frames=4, max_pairs=10, relations="ground-truth", seed=0
    ).read(entries[0])
    assert set(taught.frame_index.tolist()) == {20, 50}
    assert evaluate.main(["--run", str(run), "--cache", str(cache), "--split", "validation"]) == 0
    best = torch.load(run / "state.pt")["progress"]["best_epoch"]
    row = next(r for r in log_rows(run) if r["kind"] == "epoch" and r["epoch"] == best)
    assert json.loads((run / "metrics.json").read_text())["map_official"] == row["validation_map"]
    assert 0 < row["validation_map"] < 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="requires a GPU")
def test_training_on_a_gpu_uses_bfloat16(cache: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert fit(cache, run, "train.epochs=1", "device=cuda") == 0
    assert all(row["loss"] > 0 for row in log_rows(run) if row["kind"] == "step")


def test_bfloat16_losses_are_close_to_float32_losses(cache: Path, tmp_path: Path) -> None:
    losses = []
    for amp in ("none", "bf16"):
        run = tmp_path / amp
        assert fit(cache, run, "train.epochs=1", f"train.amp={amp}", "model.dropout=0") == 0
        losses.append([row["loss"] for row in log_rows(run) if row["kind"] == "step"])
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


def test_checkpoint_of_an_earlier_version_is_rejected(
    finished: Path, cache: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    torch.save(torch.load(run / "state.pt") | {"schema": "laiar.state/1"}, run / "state.pt")
    message = (
        r"checkpoint of another command or version \(laiar.state/2 expected, got laiar.state/1"
    )
    with pytest.raises(UsageError, match=message):
        fit(cache, run, "train.epochs=2")
