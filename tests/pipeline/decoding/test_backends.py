import os
import sys
import time
from pathlib import Path

import pytest
import torch

from pipeline.config.loading import load_config
from pipeline.decoding import decord_backend, open_video
from pipeline.decoding.options import DecodeOptions
from pipeline.decoding.scan import scan
from pipeline.errors import FailureReason, ItemError, UsageError
from tests.pipeline.video_maker import number_of, write_clip

OTHERS = ["opencv", "decord"]
CLIPS = Path(os.environ.get("LAIAR_CLIPS", "")) if os.environ.get("LAIAR_CLIPS") else None


@pytest.mark.parametrize("backend", OTHERS)
@pytest.mark.parametrize("numbering", ["presentation", "dump"])
@pytest.mark.parametrize("late", [0, 7])
def test_opencv_and_decord_return_the_pixels_of_pyav(
    tmp_path: Path, backend: str, numbering: str, late: int
) -> None:
    times = [late + i for i in range(40)]
    path = write_clip(tmp_path / "a.mp4", times=times, options={"flags": "+cgop"})
    ours = open_video(path, numbering=numbering)  # type: ignore[arg-type]
    theirs = open_video(path, DecodeOptions(backend=backend), numbering=numbering)  # type: ignore[arg-type]
    assert ours.num_frames == theirs.num_frames
    rows = sorted({0, 1, 13, 25, ours.num_frames - 1})
    one, two = ours.read(rows), theirs.read(rows)
    assert torch.equal(one.frames, two.frames)
    assert torch.equal(one.frame_index, two.frame_index)
    if not late:
        assert [number_of(f.permute(1, 2, 0).numpy()) for f in two.frames] == rows


@pytest.mark.parametrize("backend", OTHERS)
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_single_frames_of_open_gops_are_correct(tmp_path: Path, backend: str, suffix: str) -> None:
    """After a seek in an open GOP, decord returns neighbouring frames."""
    options = {"bf": "8", "x264-params": "open-gop=1:b-adapt=0:scenecut=0"}
    path = write_clip(tmp_path / f"a.{suffix}", options=options)
    rows = [11, 13, 16, 24, 31]
    frames = open_video(path, DecodeOptions(backend=backend)).read(rows).frames  # type: ignore[arg-type]
    assert [number_of(f.permute(1, 2, 0).numpy()) for f in frames] == rows


def test_decord_backend_rejects_transport_streams(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.ts")
    assert open_video(path, DecodeOptions(backend="opencv")).num_frames == 40
    with pytest.raises(ItemError, match="transport or program stream") as caught:
        open_video(path, DecodeOptions(backend="decord"))
    assert caught.value.reason is FailureReason.UNKNOWN_FRAME_MAP


@pytest.mark.parametrize("backend", OTHERS)
def test_truncated_file_raises(tmp_path: Path, backend: str) -> None:
    whole = write_clip(tmp_path / "a.mp4").read_bytes()
    path = tmp_path / "b.mp4"
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(ItemError) as caught:
        open_video(path, DecodeOptions(backend=backend)).read([0, 38])  # type: ignore[arg-type]
    assert caught.value.reason in (FailureReason.TRUNCATED_VIDEO, FailureReason.CORRUPT_VIDEO)


def decode(path: Path, child: Path, timeout_s: float) -> None:
    held = scan(path, ignore_edit_lists=False, max_pixels=10**9, max_frames=10**6)
    list(decord_backend.decord_images(path, held, [0, 1], timeout_s, child=child))


@pytest.mark.parametrize(
    ("script", "reason", "says"),
    [
        ("import time; time.sleep(60)", FailureReason.DECODE_TIMEOUT, "was killed"),
        ("import os; os.abort()", FailureReason.DECODER_DIED, "no error message"),
        ("import nothing_of_that_name", FailureReason.DECODER_DIED, "nothing_of_that_name"),
        (
            'print(\'{"num_frames": 3, "height": 1, "width": 1, "starts_s": [0, 0]}\')',
            FailureReason.CORRUPT_VIDEO,
            "decord found 3",
        ),
        (
            'print(\'{"num_frames": 40, "height": 1, "width": 1, "starts_s": [0, 0.9]}\')',
            FailureReason.CORRUPT_VIDEO,
            "frame 1 expected at 0.040 s",
        ),
    ],
)
def test_failure_of_the_decord_process_raises(
    tmp_path: Path, script: str, reason: FailureReason, says: str
) -> None:
    path = write_clip(tmp_path / "a.mp4")
    child = tmp_path / "child.py"
    child.write_text(script)
    start = time.monotonic()
    with pytest.raises(ItemError, match=says) as caught:
        decode(path, child, 3.0)
    assert caught.value.reason is reason
    assert time.monotonic() - start < 30


def test_unsupported_backend_options_raise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="does not detect corrupt frames"):
        load_config(None, ["decode.backend=opencv", "decode.tolerant=true"])
    path = write_clip(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match="pyav expected"):
        open_video(path, DecodeOptions(tolerant=True, backend="decord"))
    monkeypatch.setitem(sys.modules, "decord", None)
    with pytest.raises(UsageError, match="pip install decord"):
        open_video(path, DecodeOptions(backend="decord"))


@pytest.mark.skipif(CLIPS is None, reason="LAIAR_CLIPS is not set")
@pytest.mark.parametrize("backend", OTHERS)
def test_backends_agree_or_raise_on_real_clips(backend: str) -> None:
    assert CLIPS is not None
    equal = 0
    for path in sorted(p for p in CLIPS.iterdir() if p.suffix == ".mp4"):
        ours = open_video(path)
        rows = [ours.num_frames // 4, ours.num_frames // 2]
        try:
            theirs = open_video(path, DecodeOptions(backend=backend)).read(rows)  # type: ignore[arg-type]
        except ItemError:
            continue
        assert torch.equal(ours.read(rows).frames, theirs.frames), path.name
        equal += 1
    assert equal
