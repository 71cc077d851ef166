"""Tests of the commands `check_reference`, `evaluate_scores` and `convert_weights`."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from detection.build import NetworkSize, build_detector, seed_weights
from pipeline.errors import FailureReason, ItemError
from pipeline.evaluation.metrics import charades_map
from pipeline.runtime.command_line import run_command
from pipeline.runtime.files import file_sha256
from pipeline.weights.cards import read_tensors
from tests.detection.original_names import as_detectron2
from tools import check_reference, convert_weights, evaluate_scores
from tools.proofs.reference.small import check_weight_rule
from tools.proofs.reference.weight_rule import make_tensor

REFERENCE = Path(__file__).resolve().parents[1] / "reference"
Main = Callable[[list[str]], int]


def call(capsys: pytest.CaptureFixture[str], main: Main, *words: object) -> tuple[int, str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        run_command(main, [str(word) for word in words])
    out, err = capsys.readouterr()
    return int(stopped.value.code or 0), out, err


def test_item_error_ends_a_command_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def fails(_words: list[str]) -> int:
        raise ItemError(FailureReason.BAD_CACHE, "A1: a whole clip expected;\n extract it again")

    code, _, err = call(capsys, fails)
    assert (code, err) == (1, "error: A1: a whole clip expected; extract it again\n")


def test_check_reference_accepts_other_numbers_and_detects_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(REFERENCE / "spatial_masks.npz", tmp_path)
    shutil.copy(REFERENCE / "charades_map.npz", tmp_path)
    shutil.copy(REFERENCE / "recall_eval.npz", tmp_path / "other.npz")
    code, out, err = call(capsys, check_reference.main, tmp_path, "--json")
    tree = json.loads(out)
    assert code == 0
    assert all(row["holds"] for row in tree.values())
    assert set(tree["spatial_masks/masks"]) == {"holds", "error", "tolerance", "worst"}
    assert "no check exists for other.npz" in err
    arrays = dict(np.load(tmp_path / "spatial_masks.npz"))
    arrays["masks"][7, 1, 3, 3] += 1e-3
    np.savez(tmp_path / "spatial_masks.npz", **arrays)
    code, out, _ = call(capsys, check_reference.main, tmp_path, "--json")
    row = json.loads(out)["spatial_masks/masks"]
    assert (code, row["holds"], row["worst"]) == (1, False, "pair 7")


@pytest.mark.parametrize("kind", ["absent", "empty", "broken"])
def test_folder_without_reference_numbers_is_rejected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    folder = tmp_path / kind
    if kind != "absent":
        folder.mkdir()
    if kind == "broken":
        (folder / "spatial_masks.npz").write_bytes(b"PK")
    code, out, err = call(capsys, check_reference.main, folder)
    assert (code, out) == (2, "")
    assert len([line for line in err.splitlines() if line.startswith("error:")]) == 1


def test_wrong_weight_rule_is_detected() -> None:
    tree = json.loads((REFERENCE / "state_dicts.json").read_text())
    tree["seed"] += 1
    error, tolerance, _ = check_weight_rule(tree)["weight_rule"]
    assert error > tolerance


def test_scores_of_other_programs_are_evaluated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    r = np.random.default_rng(0)
    scores, labels = r.random((20, 3)), r.random((20, 3)) < 0.4
    labels[:, 2] = False
    path = tmp_path / "a.npz"
    np.savez(path, scores=scores, labels=labels, ids=np.arange(20))
    code, out, _ = call(capsys, evaluate_scores.main, path, "--json")
    tree = json.loads(out)
    assert code == 0
    assert tree["map_official"] == pytest.approx(charades_map(scores, labels).map)
    assert tree["classes_without_positives"] == 1
    assert tree["per_class"][2]["ap"] is None
    code, out, _ = call(capsys, evaluate_scores.main, path)
    assert f"map_official               {tree['map_official']:.4f}" in out


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"scores": np.zeros((2, 2))}, "'labels'"),
        ({"scores": np.zeros(2), "labels": np.zeros(2)}, "'scores'"),
        ({"scores": np.zeros((2, 2)), "labels": np.zeros((2, 3))}, "one shape"),
        ({"scores": np.zeros((2, 2)), "labels": np.full((2, 2), 3)}, "0 and 1"),
        ({"scores": np.full((1, 1), np.nan), "labels": np.ones((1, 1))}, "NaN"),
        ({"scores": np.array([[{}]]), "labels": np.ones((1, 1))}, "plain arrays"),
        (
            {"scores": np.zeros((2, 1)), "labels": np.ones((2, 1)), "ids": np.array(["a", "a"])},
            "one unique id",
        ),
    ],
)
def test_invalid_scores_are_rejected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arrays: dict[str, np.ndarray], says: str
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    code, out, err = call(capsys, evaluate_scores.main, tmp_path / "a.npz")
    assert (code, out) == (2, "")
    assert says in err
    assert call(capsys, evaluate_scores.main, tmp_path / "b.npz")[0] == 2


def test_published_detector_is_converted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = json.loads((REFERENCE / "state_dicts.json").read_text())
    shapes = tree["keys"]["faster_rcnn_ag"]
    state = {key: torch.from_numpy(make_tensor(tree["seed"], key, s)) for key, s in shapes.items()}
    path, out = tmp_path / "faster_rcnn_ag.pth", tmp_path / "d.safetensors"
    torch.save({"session": 1, "epoch": 6, "model": state, "pooling_mode": "align"}, path)
    code, _, err = call(capsys, convert_weights.main, path, out)
    assert code == 0, err
    card = json.loads(out.with_suffix(".json").read_text())
    assert (card["preset"], card["depth"], card["width"]) == ("action-genome", 101, 64)
    assert card["details"]["source"] == {"file": path.name, "sha256": file_sha256(path)}
    assert card["sha256"] == file_sha256(out)
    assert len(state) - len(read_tensors(out, "w")) == 104  # batch counters are not stored
    assert out.stat().st_size < 1.1 * sum(value.nbytes for value in state.values())
    state.pop("RCNN_cls_score.bias")
    torch.save({"model": state}, path)
    code, _, err = call(capsys, convert_weights.main, path, tmp_path / "e.safetensors")
    assert code == 2
    assert "missing, the first is 'roi_head.cls_score.bias'" in err
    assert not (tmp_path / "e.safetensors").exists()
    path.write_bytes(path.read_bytes()[:1000])
    assert call(capsys, convert_weights.main, path, tmp_path / "e.safetensors")[0] == 2


SIZE = NetworkSize(depth=26, width=4, fpn_channels=8, head_width=16)
NORM = "backbone.bottom_up.stem.conv1.norm.running_var"


@pytest.mark.parametrize("kind", ["c4", "fpn"])
def test_detectron2_pickles_are_converted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    ours = build_detector(num_classes=36, preset=f"detectron2-{kind}", size=SIZE)
    seed_weights(ours, 0)
    state = as_detectron2(ours.state_dict(), kind, 26)
    arrays = {name: value.numpy() for name, value in state.items()}
    path, out = tmp_path / "model_final.pkl", tmp_path / "d.safetensors"
    path.write_bytes(pickle.dumps({"model": arrays, "__author__": "a zoo"}))
    assert call(capsys, convert_weights.main, path, out)[0] == 0
    card = json.loads(out.with_suffix(".json").read_text())
    assert (card["preset"], card["depth"], card["width"]) == (f"detectron2-{kind}", 26, 4)
    again, own = read_tensors(out, "w"), ours.state_dict()
    unread = own["roi_head.bbox_pred.weight"], own["roi_head.bbox_pred.bias"]
    for value in unread:
        value[:4] = 0  # box deltas of the background, which detectron2 lacks
    for name, value in again.items():
        assert torch.equal(value, own[name]), name


def test_invalid_checkpoints_are_rejected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = build_detector(num_classes=36, preset="detectron2-fpn", size=SIZE)
    good = as_detectron2(ours.state_dict(), "fpn", 26)
    bias = "roi_heads.box_predictor.cls_score.bias"
    cases: dict[str, Any] = {
        "36 object classes without background expected, got 2": good
        | {"roi_heads.box_predictor.cls_score.weight": torch.zeros(3, 16)},
        "finite numbers of float32 expected": good | {bias: torch.full((37,), float("nan"))},
        "finite numbers of float32 expected, got NaN or infinity": good
        | {bias: torch.full((37,), 1e300, dtype=torch.float64)},
        "floating point numbers expected, got torch.int64": good
        | {bias: torch.zeros(37, dtype=torch.int64)},
        "variances of at least 0 expected": good | {NORM: -torch.ones_like(good[NORM])},
        f"expected, got dict with {len(good) - 1} tensors": good
        | {bias: torch.zeros(37, dtype=torch.complex64)},
        "weights of a Faster R-CNN expected": good | {bias: torch.zeros(())},
        "weights of a Faster R-CNN or of STTran expected": {"fc.weight": torch.zeros(2, 2)},
        "1 missing, the first is 'roi_head.cls_score.bias'": {
            n: v for n, v in good.items() if n != bias
        },
        "got 'teapot'": good | {"teapot": torch.zeros(1)},
        "a dict of tensors, possibly under 'model', 'state_dict', ": {"model": {"a": 3}},
        "pooling_mode 'align' expected": {"model": good, "pooling_mode": "crop"},
        "got class_agnostic": {"model": good, "class_agnostic": torch.ones(2)},
        "got dict with 0 tensors": {},
    }
    path, out = tmp_path / "a.pth", tmp_path / "out.safetensors"
    for says, tree in cases.items():
        torch.save(tree, path)
        code, _, err = call(capsys, convert_weights.main, path, out)
        assert (code, says in err) == (2, True), (says, err)
        assert not out.exists()
    hostile = tmp_path / "b.pkl"
    hostile.write_bytes(pickle.dumps({"model": print}))
    code, _, err = call(capsys, convert_weights.main, hostile, out)
    assert code == 2
    assert "got builtins.print (not run)" in err
    hostile = tmp_path / "b.pth"
    hostile.write_bytes(pickle.dumps({"model": print}, protocol=2))
    code, _, err = call(capsys, convert_weights.main, hostile, out)
    assert code == 2
    assert "the file refers to print, which was not run" in err
    assert "weights_only" not in err


@pytest.mark.parametrize("text", [b"hello", b"", b"<html>no file</html>", b"version https://git"])
@pytest.mark.parametrize("suffix", ["pth", "pkl", "tar", "safetensors"])
def test_files_without_a_checkpoint_give_one_error_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: bytes, suffix: str
) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(text)
    code, _, err = call(capsys, convert_weights.main, path, tmp_path / "out.safetensors")
    assert code == 2
    assert err.startswith("error: ")
    assert "Traceback" not in err
    assert not (tmp_path / "out.safetensors").exists()


def test_damaged_checkpoints_give_no_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Change random bytes of checkpoints in both file formats of torch."""
    good = as_detectron2(
        build_detector(num_classes=36, preset="detectron2-fpn", size=SIZE).state_dict(), "fpn", 26
    )
    rng = np.random.default_rng(0)
    for zipped in (True, False):
        path = tmp_path / f"{zipped}.pth"
        torch.save({"model": good}, path, _use_new_zipfile_serialization=zipped)
        whole = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(20):
            changed = whole.copy()
            changed[rng.integers(0, min(len(whole), 20_000), 8)] ^= 255
            path.write_bytes(changed.tobytes())
            code, _, err = call(capsys, convert_weights.main, path, tmp_path / "o.safetensors")
            assert code in (0, 2)
            assert "Traceback" not in err


def test_two_names_of_one_parameter_are_rejected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = {
        "roi_heads.box_head.fc6.weight": torch.zeros(1),
        "backbone.fpn.layer_blocks.0.weight": torch.zeros(1),
        "backbone.fpn.layer_blocks.0.0.weight": torch.ones(1),
    }
    torch.save(state, tmp_path / "a.pth")
    code, _, err = call(
        capsys, convert_weights.main, tmp_path / "a.pth", tmp_path / "o.safetensors"
    )
    assert code == 2
    assert "got a second one, 'backbone.fpn.layer_blocks.0.0.weight'" in err


def test_custom_classes_are_stored_in_the_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = build_detector(num_classes=2, preset="detectron2-fpn", size=SIZE)
    torch.save(as_detectron2(ours.state_dict(), "fpn", 26), tmp_path / "a.pth")
    (tmp_path / "classes.txt").write_text("__background__\nPerson\ncupglassbottle\n")
    paths = tmp_path / "a.pth", tmp_path / "a.safetensors"
    assert call(capsys, convert_weights.main, *paths, "--classes", tmp_path / "classes.txt")[0] == 0
    assert json.loads((tmp_path / "a.json").read_text())["classes"] == [
        "person",
        "cup/glass/bottle",
    ]
    for text in ("cup\nperson\n", "person\nperson\n"):
        (tmp_path / "classes.txt").write_text(text)
        words = (*paths, "--classes", tmp_path / "classes.txt")
        code, _, err = call(capsys, convert_weights.main, *words)
        assert (code, "unique names with person first expected" in err) == (2, True)
