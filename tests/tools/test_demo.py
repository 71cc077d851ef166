import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from tools import demo

OUT = "runs/demo-of-the-tests"


@pytest.fixture
def out() -> Iterator[Path]:
    folder = demo.ROOT / OUT
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_demo_trains_evaluates_and_explains(out: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "stale").write_text("from an earlier call")
    words = ("train.epochs=2", "detection.short_side=64", "device=cpu", "model.dim=16")
    sizes = ["--train", "4", "--test", "2", "--seed", "3"]
    assert demo.main(["--out", OUT, *sizes, *words, *demo.NO_SELECTION]) == 0
    said = capfd.readouterr().out
    before, after = (
        json.loads((out / run / "metrics.json").read_text())["map_official"]
        for run in ("untrained", "trained")
    )
    assert f"before training {before:.4f}, after {after:.4f}" in said
    assert "explanation.json" in said
    assert "explanation of " in said
    assert (demo.ROOT / OUT / "explained" / "gallery.html").is_file()
    assert said.rstrip().endswith(f"open: {OUT}/explained/gallery.html")
    assert len(list(out.glob("explained/*/explanation.json"))) == 2
    assert not (out / "stale").exists()


@pytest.mark.parametrize("folder", ["..", "runs", "pipeline", "../elsewhere"])
def test_output_folder_must_be_below_runs(folder: str) -> None:
    with pytest.raises(UsageError, match="below runs/"):
        demo.main(["--out", folder])
