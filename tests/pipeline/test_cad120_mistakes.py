"""Messages about mistakes with a folder of CAD-120, on a small release."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.cache.folder import read_cache_info, write_cache_info
from pipeline.cache.manifest import Manifest, read_manifest
from pipeline.errors import UsageError
from pipeline.evaluate import main as evaluate
from pipeline.extract import main as extract
from pipeline.predict import main as predict
from pipeline.train import main as train
from tests.pipeline.datasets.cad120.release_maker import write_release
from tests.pipeline.test_predict_spans import write_frames
from tools.cache import main as tools_cache

LANGUAGE = ["--config", "configs/cad120_language.yaml"]
WORLD = ["--config", "configs/cad120_world.yaml"]


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("release")
    write_frames(root / "frames")
    write_release(root / "annotations")
    words = ["--annotations", str(root / "annotations"), "--cache", str(root / "cache")]
    assert extract([*LANGUAGE, *words, "device=cpu"]) == 0
    return root


@pytest.mark.parametrize("main", [extract, predict])
def test_file_as_source_of_the_ids_is_rejected(main: object, tmp_path: Path) -> None:
    assert callable(main)
    words = [str(tmp_path)] if main is predict else ["--cache", str(tmp_path)]
    with pytest.raises(UsageError, match=r"--ids: .*'ids.txt' \(choose from '?name'?, '?path'?\)"):
        main([*words, "--ids", "ids.txt"])


def test_ids_from_paths_do_not_fit_and_the_message_says_so(release: Path, tmp_path: Path) -> None:
    words = ["--annotations", str(release / "annotations"), "--cache", str(tmp_path), "device=cpu"]
    videos = ["--videos", str(release / "frames"), "detection.weights=random"]
    says = "such as Subject1_rgbd_images__drinking__0001 expected .* with --ids path, it also"
    with pytest.raises(UsageError, match=says):
        extract([*WORLD, *words, *videos, "--ids", "path"])
    with pytest.raises(UsageError, match="--ids path: features=none reads no videos"):
        extract([*LANGUAGE, *words, "--ids", "path"])


def test_id_of_a_clip_is_named_where_the_id_of_a_video_is_expected(
    release: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="'0001_1_8'; it is the id of a part of the video 0001"):
        tools_cache(["show", str(release / "cache"), "0001_1_8"])
    with pytest.raises(UsageError, match="'0009_1_8'; ls lists the ids"):
        tools_cache(["show", str(release / "cache"), "0009_1_8"])
    write_frames(tmp_path)
    for path in sorted(tmp_path.glob("*/*/0*")):
        path.rename(path.with_name(f"{path.name}_1_8"))
    words = ["--annotations", str(release / "annotations"), "--cache", str(tmp_path / "cache")]
    words += ["--videos", str(tmp_path), "detection.weights=random", "device=cpu"]
    says = "0001_1_8 is the id of a part of the video 0001; provide the whole video"
    with pytest.raises(UsageError, match=says):
        extract([*WORLD, *words])


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("dataset=charades", "found none; for another dataset, set dataset=NAME"),
        ("pairs=hand", r"pairs: a list such as pairs=\[hand\] expected, got hand"),
        ("pairs=[hands]", "has hand, person, head, microwave, state; got hands"),
    ],
)
def test_wrong_setting_is_named(release: Path, tmp_path: Path, config: str, says: str) -> None:
    words = ["--annotations", str(release / "annotations"), "--cache", str(tmp_path), config]
    with pytest.raises(UsageError, match=says):
        extract([*LANGUAGE, *words, "device=cpu"])


def test_missing_annotations_are_named(release: Path, tmp_path: Path) -> None:
    words = ["--videos", str(release / "frames"), "--cache", str(tmp_path), "device=cpu"]
    with pytest.raises(UsageError, match="set it to the annotation folder of dataset=cad120"):
        extract([*WORLD, *words, "detection.weights=random"])


def test_cache_of_test_subjects_only_is_named(release: Path, tmp_path: Path) -> None:
    cache = shutil.copytree(release / "cache", tmp_path / "cache")
    (cache / "0003.safetensors").unlink()
    rows = read_manifest(cache)
    Manifest(cache).write({name: rows[name] for name in ("0001", "0002")})
    words = ["--cache", str(cache), "--run", str(tmp_path / "run"), "device=cpu", "fold=1"]
    says = r"training subjects \(all but Subject1\) .* contains those of Subject1 only \(0 clips"
    with pytest.raises(UsageError, match=says):
        train([*LANGUAGE, *words])


def test_cache_without_features_is_rejected_for_the_video_branch(
    release: Path, tmp_path: Path
) -> None:
    words = ["--cache", str(release / "cache"), "--run", str(tmp_path), "device=cpu", "fold=1"]
    with pytest.raises(UsageError, match=r"with features=none; .* or set branch=language"):
        train([*LANGUAGE, *words, "branch=both"])


def test_network_of_the_language_branch_is_rejected_for_other_uses(
    release: Path, tmp_path: Path
) -> None:
    cache, run = release / "cache", tmp_path / "run"
    words = ["--cache", str(cache), "--run", str(run), "device=cpu", "fold=2", "train.epochs=1"]
    words += ["train.validation_fraction=0", "inverse_pairs=null", "model.dim=16"]
    assert train([*LANGUAGE, *words]) == 0
    with pytest.raises(UsageError, match="was trained with branch=language; train one with"):
        predict([str(release / "frames"), "--run", str(run), "--out", str(tmp_path / "out")])
    info = read_cache_info(cache)
    (tmp_path / "videos").mkdir()
    write_cache_info(
        tmp_path / "videos", replace(info, settings=replace(info.settings, features=None))
    )
    with pytest.raises(UsageError, match=r"features=none expected as in .* has features=detector"):
        evaluate(["--run", str(run), "--cache", str(tmp_path / "videos")])
