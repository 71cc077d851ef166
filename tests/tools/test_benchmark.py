"""Tests of `tools.benchmark` on small networks."""

import json
import mmap
from pathlib import Path

import pytest
import torch

from detection.build import NetworkSize, build_detector, seed_weights
from pipeline.cache.reader import ClipReader
from pipeline.errors import UsageError
from tests.pipeline.clips import save_clip
from tests.pipeline.video_maker import write_clip
from tools import benchmark
from tools.proofs.benchmarks.cache_reading import ReadingPlan, _spans, random_clip, read_plainly
from tools.proofs.benchmarks.detector import run_ours
from tools.proofs.benchmarks.original_loop import detect_as_original
from tools.proofs.benchmarks.timing import PeakMemory, count_gmac, matrix_rate

SMALL = ("--frame-size", "48", "64", "--short-side", "64", "--depth", "26", "--width", "4")


def test_detector_table_has_every_variant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "b.json"
    words = ["detector", "--num-frames", "2", "--rounds", "1", "--device", "cpu", *SMALL]
    assert benchmark.main([*words, "--json", str(path)]) == 0
    tree = json.loads(path.read_text())
    rows = tree["rows"]
    assert rows["original formulation"]["ratio"] == 1
    assert rows["ours, exact"]["gmac_per_frame"] > 0
    given = rows["ours, exact, given boxes"]
    assert given["gmac_per_frame"] < rows["ours, exact"]["gmac_per_frame"]
    assert all(row["frames_per_s"] > 0 for row in rows.values())
    assert tree["against_exact"]["folded"]["feature_error"] < 1e-5
    assert "of the" not in tree["machine"]["device"]
    out = capsys.readouterr().out
    assert "torchvision R-FPN" in out
    assert "by stage" in out
    with pytest.raises(UsageError, match="--depth"):
        benchmark.main(["detector", "--depth", "7"])


def test_loop_of_sttran_finds_the_same_boxes() -> None:
    size = NetworkSize(depth=26, width=8)
    detector = build_detector(num_classes=36, size=size, short_side=64, max_boxes=1000)
    seed_weights(detector, 0)
    frames = torch.randint(0, 256, (3, 3, 48, 80), dtype=torch.uint8)
    with torch.inference_mode():
        boxes, features, unions = detect_as_original(detector, frames)
        ours = run_ours(detector, frames, 1)
    # STTran suppresses boxes in network pixels and adds 1 to widths, so some boxes differ.
    counts = [int((boxes[:, 0] == t).sum()) for t in range(3)]
    assert sum(counts) == len(features) == len(unions) + 3
    assert sum(abs(a - len(b)) for a, b in zip(counts, ours, strict=True)) <= 0.1 * sum(counts)
    row = boxes[boxes[:, 0] == 0][0, 1:5]
    assert float((ours[0].boxes - row).abs().sum(1).min()) < 1e-2


def test_operations_speed_and_memory_are_measured() -> None:
    a = torch.ones(10, 20)
    assert count_gmac(lambda: a @ a.T) == pytest.approx(10 * 20 * 10 / 1e9)
    assert matrix_rate(torch.float32, torch.device("cpu")) > 0
    with PeakMemory(torch.device("cpu")) as memory:
        block = mmap.mmap(-1, 2**26)  # an allocator could reuse resident memory
        block.write(b"x" * len(block))
    assert memory.peak is None or memory.peak > 0.5 * len(block)


def test_training_table_has_every_width(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, before = tmp_path / "b.json", torch.get_num_threads()
    words = ["train", "--widths", "8", "16", "--num-videos", "2", "--rounds", "1"]
    assert benchmark.main([*words, "--json", str(path)]) == 0
    assert torch.get_num_threads() == before
    tree = json.loads(path.read_text())
    rows = tree["ms_per_step"]
    assert sorted(rows) == ["16", "8"]
    assert all(value > 0 for row in rows.values() for value in row.values())
    sizes = [(row["T"], row["K"], row["D"]) for row in tree["sizes"]]
    assert sizes[0] == (16, 8, 8)
    assert set(sizes[1:]) == {(8, 8, 8), (32, 8, 8), (16, 4, 8), (16, 16, 8), (16, 8, 16)}
    assert all(0 < row["matrix_share"] < 1 and row["gmac"] > 0 for row in tree["sizes"])
    assert all(row["ms_with_selector"] > 0 for row in tree["sizes"])
    loop = tree["loop"]["rows"]
    assert len(loop) == 3
    assert all(0 <= row["waiting"] < 1 for row in loop.values())
    assert loop["clips read in every epoch"]["waiting"] > loop["batches in memory"]["waiting"]
    ours = loop["clips in memory"]["ms_per_step"]
    assert tree["loop"]["ratio"] == pytest.approx(loop["batches in memory"]["ms_per_step"] / ours)
    out = capsys.readouterr().out
    assert "width" in out
    assert "waiting" in out


def test_selection_is_measured_on_the_kept_share(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "b.json"
    words = ["selection", "--widths", "8", "--num-videos", "2", "--rounds", "1"]
    assert benchmark.main([*words, "--json", str(path)]) == 0
    tree = json.loads(path.read_text())
    assert tree["tokens"]["kept"] == round(0.4 * tree["tokens"]["all"])
    assert len(tree["ms"]) == 4
    assert all(value > 0 for value in tree["ms"].values())
    assert "step with selector" in capsys.readouterr().out


def test_extraction_is_compared_with_its_slowest_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos, path = tmp_path / "videos", tmp_path / "b.json"
    videos.mkdir()
    write_clip(videos / "A.mp4", 9)
    words = ["extract", "--videos", str(videos), "--num-frames", "2", "--rounds", "1"]
    small = ("--short-side", "48", "--depth", "26", "--width", "4", "--proposals", "10")
    workers = ("--decode-workers", "0", "--device", "cpu", "--json", str(path))
    more = ("--estimate", "1000000", "--price", "2")
    assert benchmark.main([*words, *small, *workers, *more]) == 0
    tree = json.loads(path.read_text())
    for boxes in ("detected", "ground-truth"):
        part = tree["boxes"][boxes]
        assert (part["videos"], part["frames"]) == (1, 2)
        seconds = {name: row["seconds"] for name, row in part["rows"].items()}
        whole = seconds.pop("extract, end to end")
        assert part["ratio"] == pytest.approx(max(seconds.values()) / whole)
        assert seconds[part["slowest"]] == max(seconds.values())
    assert tree["boxes"]["ground-truth"]["pairs_per_frame"] == 2
    row = tree["estimate"]["boxes"]["detected"]
    seconds = tree["boxes"]["detected"]["rows"]["extract, end to end"]["seconds"]
    assert row["hours"] == pytest.approx(1e6 * seconds / 3600)
    assert row["price"] == pytest.approx(2 * row["hours"])
    assert row["terabytes"] == pytest.approx(tree["boxes"]["detected"]["megabytes"])
    shown = capsys.readouterr().out
    assert "of the slowest part" in shown
    assert "estimate for 1,000,000 videos" in shown
    for wrong in (["train", "--estimate", "5"], ["extract", "--estimate", "0"]):
        with pytest.raises(UsageError, match="--estimate: a number from 1"):
            benchmark.main(wrong)
    with pytest.raises(UsageError, match="only with --estimate"):
        benchmark.main(["extract", "--price", "2"])
    with pytest.raises(UsageError, match="--videos"):
        benchmark.main(["extract"])


def test_plain_read_and_clip_reader_return_identical_bytes(tmp_path: Path) -> None:
    plan = ReadingPlan(1, 5, 2, 2, 1)
    clip = random_clip(plan)
    path = tmp_path / "clip.safetensors"
    save_clip(path, clip)
    plain = read_plainly(path, _spans(path, clip, [1, 3]))
    ours = ClipReader(path).read([1, 3], half=True)
    arrays = (
        ours.boxes,
        ours.labels,
        ours.scores,
        ours.distribution,
        ours.box_features,
        ours.pairs,
        ours.union_features,
    )
    assert plain.tobytes() == b"".join(a.numpy().tobytes() for a in arrays)
    assert benchmark.main(["cache", "--num-videos", "1", "--max-pairs", "1", "--rounds", "1"]) == 0
