import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline import evaluate
from pipeline.cache.folder import LabelledVideo
from pipeline.cache.manifest import read_manifest
from pipeline.errors import UsageError
from pipeline.samples.folds import FOLDS_SCHEMA, find_fold, find_fold_of, read_folds
from pipeline.samples.listing import list_samples
from tests.pipeline.cache_maker import cache_info, random_cache
from tests.pipeline.test_train import fit


def write_folds(path: Path, **folds: dict[str, list[str]]) -> str:
    path.write_text(json.dumps({"schema": FOLDS_SCHEMA, "folds": folds}))
    return str(path)


def test_listed_folds_are_trained_and_evaluated(tmp_path: Path) -> None:
    cache = random_cache(tmp_path / "cache", train=5, test=4)
    rows = read_manifest(cache)
    train, test = (
        sorted(i for i, row in rows.items() if row.split == name) for name in ("train", "test")
    )
    lists = {"train": train[:3] + test[3:], "test": test[:2]}
    file = write_folds(tmp_path / "folds.json", a=lists, b={"train": train, "test": test})
    run = tmp_path / "run"
    words = (f"folds={file}", "fold=a", "train.epochs=1", "train.validation_fraction=0")
    assert fit(cache, run, *words) == 0
    assert json.loads((run / "run.json").read_text())["counts"]["done"] == 4
    assert evaluate.main(["--run", str(run), "--cache", str(cache)]) == 0
    assert json.loads((run / "metrics.json").read_text())["videos"] == 2

    moved = write_folds(tmp_path / "moved.json", a=lists)
    data = ["--run", str(run), "--cache", str(cache)]
    assert evaluate.main([*data, f"folds={moved}"]) == 0
    other = write_folds(tmp_path / "other.json", a=lists | {"test": test[:3]})
    with pytest.raises(UsageError, match="as in training, but the file lists others"):
        evaluate.main([*data, f"folds={other}"])


def test_unusable_videos_are_those_of_the_split(tmp_path: Path) -> None:
    cache = random_cache(tmp_path / "cache", train=3, test=2)
    train = sorted(i for i, row in read_manifest(cache).items() if row.split == "train")
    (cache / f"{train[0]}.safetensors").write_bytes(b"damaged")
    (cache / f"{train[1]}.safetensors").write_bytes(b"damaged")
    name = write_folds(tmp_path / "f.json", a={"train": train[1:], "test": train[:1]})
    fold = find_fold("a", {}, name)
    for split, bad in (("train", {train[1]}), ("test", {train[0]})):
        assert list_samples(cache, split=split, fold=fold)[1].keys() == bad


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda tree: tree.pop("schema"), "KeyError"),
        (lambda tree: tree.update(schema="laiar.folds/2"), r"'laiar.folds/1' expected"),
        (lambda tree: tree.update(folds={}), "at least one fold"),
        (lambda tree: tree.update(folds=[1]), "AttributeError"),
        (lambda tree: tree["folds"]["a"].pop("test"), "'test'"),
        (lambda tree: tree["folds"]["a"].update(test=[]), "different ids expected in 'test'"),
        (lambda tree: tree["folds"]["a"].update(test=["V1", "V1"]), "different ids"),
        (lambda tree: tree["folds"]["a"].update(test=["../V1"]), "ids of videos"),
        (lambda tree: tree["folds"]["a"].update(test=[7]), "ids of videos"),
        (lambda tree: tree["folds"]["a"].update(test=["T1"]), "T1 is a training and a test"),
    ],
)
def test_malformed_files_are_refused(
    change: Callable[[dict[str, Any]], object], says: str, tmp_path: Path
) -> None:
    path = tmp_path / "folds.json"
    tree = {"schema": FOLDS_SCHEMA, "folds": {"a": {"train": ["T1"], "test": ["V1"]}}}
    path.write_text(json.dumps(tree))
    assert read_folds(str(path)) == {"a": {"train": {"T1"}, "test": {"V1"}}}
    change(tree)
    path.write_text(json.dumps(tree))
    with pytest.raises(UsageError, match=says):
        read_folds(str(path))


def test_settings_that_do_not_fit_are_named(tmp_path: Path) -> None:
    file = write_folds(tmp_path / "folds.json", a={"train": ["T1"], "test": ["V1"]})
    with pytest.raises(UsageError, match="fold: one of a expected, got none"):
        find_fold(None, {}, file)
    with pytest.raises(UsageError, match="fold: one of a expected, got b"):
        find_fold("b", {}, file)
    with pytest.raises(UsageError, match="the dataset has folds of its own"):
        find_fold("1", {"1": ("Subject1",)}, file)
    with pytest.raises(UsageError, match=r"missing\.json does not exist"):
        find_fold("a", {}, "missing.json")
    with pytest.raises(UsageError, match=r"fold=1: the dataset has no folds; .* or set folds=FILE"):
        find_fold("1", {})
    assert find_fold(None, {}) is None
    info = cache_info(test_videos=(LabelledVideo("V1", (0,), True),))
    fold = find_fold_of("a", file, info)
    assert fold is not None
    assert fold.to_dict() == {"train": ["T1"], "test": ["V1"]}
    info = cache_info(test_videos=(LabelledVideo("V2", (0,), True),))
    with pytest.raises(UsageError, match="1 are not, such as V1"):
        find_fold_of("a", file, info)
