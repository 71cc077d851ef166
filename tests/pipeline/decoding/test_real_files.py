"""Comparison of the shown frames of unusual healthy files with those of the ffmpeg program.

Every file here is played by ffmpeg without loss, although its number of packets, its header and the
number of shown frames differ. Without a usable ffmpeg program, these tests are skipped.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline import extract
from pipeline.cache.clip_checks import check_inside
from pipeline.cache.reader import load_clip
from pipeline.decoding import open_video
from pipeline.decoding.options import DecodeOptions
from pipeline.errors import FailureReason, ItemError
from tests.pipeline import ffmpeg_program
from tests.pipeline.ffmpeg_program import run as ffmpeg
from tests.pipeline.test_extract import SMALL
from tests.pipeline.video_maker import with_edit, with_matrix


def lavfi(seconds: float = 4, rate: int = 10, size: str = "96x72") -> tuple[str, ...]:
    return ("-f", "lavfi", "-i", f"testsrc2=size={size}:rate={rate}:duration={seconds}")


X264 = ("-c:v", "libx264", "-g", "10", "-pix_fmt", "yuv420p")
OPEN_GOP = (*X264, "-bf", "3", "-x264-params", "open-gop=1:b-adapt=0:scenecut=0")
VP8 = ("-c:v", "libvpx", "-b:v", "200k", "-auto-alt-ref", "1", "-lag-in-frames", "16")
DROP = ("-vf", "select='not(eq(mod(n,4),2))'", "-vsync", "passthrough")
PREVIEW = (*lavfi(size="64x48"), "-i", "base.mp4", "-map", "0:v", "-map", "1:v", *X264)
TONE = ("-f", "lavfi", "-i", "sine=duration=2")
COVER = ("-map", "0:a", "-map", "1:v", "-c:v", "copy", "-disposition:v", "attached_pic")
FIELDS = ("-vf", "interlace", "-flags", "+ildct+ilme")

#: ffmpeg arguments of each file, in order. Later files are made of earlier ones.
MADE: dict[str, tuple[str, ...]] = {
    "base.mp4": (*lavfi(), *X264),
    "whole.ts": ("-i", "base.mp4", "-c", "copy"),
    "pass1": (*lavfi(), *VP8, "-pass", "1", "-passlogfile", "log", "-f", "null"),
    "hidden.webm": (*lavfi(), *VP8, "-pass", "2", "-passlogfile", "log"),
    "hidden.mkv": ("-i", "hidden.webm", "-c", "copy"),
    "hidden.avi": ("-i", "hidden.webm", "-c", "copy"),
    "empty_h264.avi": ("-i", "base.mp4", "-c", "copy"),
    "dropped.mp4": (*lavfi(), *DROP, *X264, "-bf", "2"),
    "empty_dropped.avi": ("-i", "dropped.mp4", "-c", "copy"),
    "empty_mjpeg.avi": (*lavfi(), *DROP, "-c:v", "mjpeg"),
    "delayed_h264.asf": ("-i", "dropped.mp4", "-c", "copy"),
    "delayed_mpeg4.avi": (*lavfi(), "-c:v", "mpeg4", "-bf", "2"),
    "fast.mkv": (*lavfi(0.02, 2400), *X264),
    "fast_no_b.mkv": (*lavfi(0.02, 2400), *X264, "-bf", "0"),
    "part1.ts": ("-t", "2", "-i", "base.mp4", *X264),
    "part2.ts": ("-ss", "2", "-i", "base.mp4", *X264),
    "part2_late.ts": ("-ss", "2", "-i", "base.mp4", *X264, "-output_ts_offset", "10000"),
    "part2_next.ts": ("-ss", "2", "-i", "base.mp4", *X264, "-output_ts_offset", "2"),
    "preview.mp4": PREVIEW,
    "preview.mkv": PREVIEW,
    "preview.ts": PREVIEW,
    "cover.png": ("-i", "base.mp4", "-frames:v", "1"),
    "cover.mkv": (
        "-i", "cover.png", "-i", "base.mp4", "-map", "0", "-map", "1", "-c", "copy",
        "-disposition:v:0", "attached_pic",
    ),
    "song.mp3": (*TONE, "-i", "cover.png", *COVER, "-c:a", "libmp3lame"),
    "song.mp4": (*TONE, "-i", "cover.png", *COVER, "-c:a", "aac"),
    "open_gop.ts": (*lavfi(), *OPEN_GOP),
    "mpeg2.ts": (*lavfi(2, 25), "-c:v", "mpeg2video", "-g", "10", "-bf", "2"),
    "headless.mkv": ("-ss", "1.9", "-i", "open_gop.ts", "-c", "copy"),
    "ten.mp4": (*lavfi(1), "-c:v", "libx264", "-pix_fmt", "yuv420p10le"),
    "ten_turned.mp4": ("-i", "ten.mp4", "-c", "copy", "-metadata:s:v:0", "rotate=90"),
    "ten_422.mp4": (*lavfi(1), "-c:v", "libx264", "-pix_fmt", "yuv422p10le"),
    "turned_422.mp4": (
        *lavfi(1), "-c:v", "libx264", "-pix_fmt", "yuv422p", "-metadata:s:v:0", "rotate=90"
    ),
    "fields.mp4": (*lavfi(2), *FIELDS, *X264),
    "fields_ten.mp4": (*lavfi(2), *FIELDS, "-c:v", "libx264", "-pix_fmt", "yuv420p10le"),
    "fields.ts": (*lavfi(2, 25), *FIELDS, "-c:v", "mpeg2video"),
}  # fmt: skip


def from_packet(share: float) -> Callable[[bytes], bytes]:
    """Return a function that removes the first share of a transport stream."""
    return lambda data: data[188 * int(len(data) // 188 * share) :]


#: Files that are made of others: names of the parts, and change of their bytes.
CHANGED: dict[str, tuple[tuple[str, ...], Callable[[bytes], bytes]]] = {
    "edit_start.mp4": (("base.mp4",), lambda d: with_edit(d, 2.0, 2.0)),
    "edit_end.mp4": (("base.mp4",), lambda d: with_edit(d, 0.0, 1.5)),
    "edit_both.mp4": (("base.mp4",), lambda d: with_edit(d, 1.25, 1.5)),
    "joined_same.ts": (("part1.ts", "part2.ts"), bytes),
    "joined_late.ts": (("part1.ts", "part2_late.ts"), bytes),
    "joined_back.ts": (("part2_late.ts", "part1.ts"), bytes),
    "joined_next.ts": (("part1.ts", "part2_next.ts"), bytes),
    "open_h264.ts": (("whole.ts",), from_packet(0.3)),
    "open_gop_20.ts": (("open_gop.ts",), from_packet(0.2)),
    "open_gop_45.ts": (("open_gop.ts",), from_packet(0.45)),
    "open_mpeg2.ts": (("mpeg2.ts",), from_packet(0.25)),
    "hflip.mp4": (("base.mp4",), lambda d: with_matrix(d, (-1, 0, 0, 1))),
    "vflip.mp4": (("base.mp4",), lambda d: with_matrix(d, (1, 0, 0, -1))),
    "transposed.mp4": (("base.mp4",), lambda d: with_matrix(d, (0, 1, 1, 0))),
    "anti_transposed.mp4": (("base.mp4",), lambda d: with_matrix(d, (0, -1, -1, 0))),
    "rot90.mp4": (("base.mp4",), lambda d: with_matrix(d, (0, 1, -1, 0))),
    "rot180.mp4": (("base.mp4",), lambda d: with_matrix(d, (-1, 0, 0, -1))),
    "rot270.mp4": (("base.mp4",), lambda d: with_matrix(d, (0, -1, 1, 0))),
    "rot45.mp4": (("base.mp4",), lambda d: with_matrix(d, (0.7071, 0.7071, -0.7071, 0.7071))),
    "no_matrix.mp4": (("base.mp4",), lambda d: with_matrix(d, (0, 0, 0, 0))),
}
PARTS = {
    "pass1", "part1.ts", "part2.ts", "part2_late.ts", "part2_next.ts", "cover.png", "song.mp3",
    "song.mp4", "whole.ts",
}  # fmt: skip
SHOWN = [name for name in (*MADE, *CHANGED) if name not in PARTS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("real")
    for name, words in MADE.items():
        inputs = [str(made / w) if (made / w).is_file() or w == "log" else w for w in words]
        ffmpeg(*inputs, made / name)
    for name, (parts, change) in CHANGED.items():
        (made / name).write_bytes(change(b"".join((made / p).read_bytes() for p in parts)))
    return made


def shown_images(path: Path) -> list[np.ndarray]:
    pipe = ("-f", "image2pipe", "-pix_fmt", "rgb24", "-c:v", "ppm", "-")
    return ffmpeg_program.split_images(ffmpeg("-i", path, "-vsync", "passthrough", *pipe))


def shown_times(path: Path) -> tuple[list[float], float]:
    """Return the times of the frames that ffmpeg shows, and their unit, in seconds."""
    text = ffmpeg("-i", path, "-vsync", "passthrough", "-an", "-f", "framemd5", "-").decode()
    above, below = text.split("#tb 0: ")[1].split("\n")[0].split("/")
    unit = int(above) / int(below)
    rows = [line.split(",") for line in text.splitlines() if not line.startswith("#")]
    return [int(row[2]) * unit for row in rows], unit


@pytest.mark.parametrize("name", SHOWN)
def test_shown_frames_and_times_equal_those_of_ffmpeg(folder: Path, name: str) -> None:
    theirs, (times, unit) = shown_images(folder / name), shown_times(folder / name)
    reader = open_video(folder / name)
    assert reader.num_frames == len(theirs) == len(times)
    clip = reader.read(list(range(reader.num_frames)))
    for number, (ours, image) in enumerate(zip(clip.frames, theirs, strict=True)):
        assert np.array_equal(ours.permute(1, 2, 0).numpy(), image), f"frame {number}"
    ours_s = clip.timestamps_s.numpy()
    assert (np.diff(ours_s) >= 0).all()
    if not name.startswith("open_mpeg"):  # other versions of FFmpeg find another start
        assert np.abs(ours_s - np.maximum.accumulate(times)).max() <= 0.51 * unit + 1e-3


@pytest.mark.parametrize(
    "name", ["hidden.webm", "empty_dropped.avi", "edit_end.mp4", "fast.mkv", "open_gop_45.ts"]
)
def test_tolerant_mode_returns_the_same_frames(folder: Path, name: str) -> None:
    strict, tolerant = (
        open_video(folder / name, DecodeOptions(tolerant=tolerant)) for tolerant in (False, True)
    )
    every = list(range(strict.num_frames))
    assert strict.timestamps_s == tolerant.timestamps_s
    assert np.array_equal(strict.read(every).frames.numpy(), tolerant.read(every).frames.numpy())
    assert not tolerant.source.is_degraded


@pytest.mark.parametrize("name", ["song.mp3", "song.mp4"])
def test_song_with_cover_has_no_frames(folder: Path, name: str) -> None:
    with pytest.raises(ItemError, match="only attached pictures") as caught:
        open_video(folder / name)
    assert caught.value.reason is FailureReason.NO_FRAMES


@pytest.mark.parametrize("name", ["hflip", "vflip", "transposed", "anti_transposed", "rot90"])
def test_dump_numbering_only_rotates(folder: Path, name: str) -> None:
    """Compare with the filters of the ffmpeg that dumped Action Genome, which ignored mirroring."""
    path = folder / f"{name}.mp4"
    turns = {
        "hflip": "hflip,vflip",
        "vflip": "null",
        "transposed": "transpose=clock",
        "anti_transposed": "transpose=cclock",
        "rot90": "transpose=clock",
    }
    pipe = ("-f", "image2pipe", "-c:v", "ppm", "-")
    theirs = ffmpeg("-noautorotate", "-i", path, "-vf", turns[name], *pipe)
    reader = open_video(path, numbering="dump")
    ours = reader.read([0, 20]).frames.permute(0, 2, 3, 1).numpy()
    images = ffmpeg_program.split_images(theirs)
    assert reader.num_frames == len(images)
    assert np.array_equal(ours, np.stack([images[0], images[20]]))


@pytest.mark.parametrize(
    ("name", "backend", "says"),
    [
        ("preview.mp4", "opencv", "2 video streams"),
        ("preview.mp4", "decord", "2 video streams"),
        ("hflip.mp4", "opencv", "mirroring"),
        ("hflip.mp4", "decord", "mirroring"),
        ("rot45.mp4", "opencv", "mirroring"),
        ("ten.mp4", "opencv", "pixel format yuv420p10le"),
        ("ten.mp4", "decord", "pixel format yuv420p10le"),
        ("fields.mp4", "opencv", "interlaced"),
    ],
)
def test_other_backends_refuse_what_they_show_differently(
    folder: Path, name: str, backend: Any, says: str
) -> None:
    with pytest.raises(ItemError, match=says) as caught:
        open_video(folder / name, DecodeOptions(backend=backend))
    assert caught.value.reason is FailureReason.UNKNOWN_FRAME_MAP


@pytest.mark.parametrize("name", ["hidden.webm", "empty_mjpeg.avi", "joined_late.ts", "ten.mp4"])
def test_dump_numbering_of_unusual_files_equals_the_image_dump(folder: Path, name: str) -> None:
    pipe = ("-f", "image2pipe", "-pix_fmt", "rgb24", "-c:v", "ppm", "-")
    theirs = ffmpeg_program.split_images(ffmpeg("-i", folder / name, *pipe))
    reader = open_video(folder / name, numbering="dump")
    ours = reader.read(list(range(reader.num_frames))).frames.permute(0, 2, 3, 1).numpy()
    assert np.array_equal(ours, np.stack(theirs))


@pytest.fixture(scope="module")
def resized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of files whose frames have 96x72 and then 64x80 pixels."""
    made = tmp_path_factory.mktemp("resized")
    for suffix, codec in (("ts", X264), ("webm", ("-c:v", "libvpx", "-b:v", "200k"))):
        ffmpeg(*lavfi(2), *codec, made / f"first.{suffix}")
        ffmpeg(*lavfi(2, size="64x80"), *codec, made / f"second.{suffix}")
        (made / "list").write_text(f"file first.{suffix}\nfile second.{suffix}\n")
        words = ("-f", "concat", "-safe", "0", "-i", made / "list", "-c", "copy")
        ffmpeg(*words, made / f"sizes.{suffix}")
    return made


@pytest.mark.parametrize("name", ["sizes.ts", "sizes.webm"])
def test_frames_of_other_sizes_are_scaled_to_the_first_size(resized: Path, name: str) -> None:
    theirs = shown_images(resized / name)
    reader = open_video(resized / name)
    assert not reader.source.is_rescaled
    clip = reader.read(list(range(40)))
    assert clip.frames.shape == (40, 3, 72, 96)
    assert reader.source.is_rescaled
    assert (reader.source.width, reader.source.height) == (96, 72)
    for ours, image in zip(clip.frames, theirs, strict=True):
        assert np.array_equal(ours.permute(1, 2, 0).numpy(), image)
    alone = open_video(resized / name).read([30])  # without the frames before it
    assert np.array_equal(alone.frames[0].numpy(), clip.frames[30].numpy())


def test_clips_of_rescaled_videos_have_boxes_inside_and_a_warning(
    resized: Path, tmp_path: Path
) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    (videos / "A.ts").write_bytes((resized / "sizes.ts").read_bytes())
    clips = []
    for size in (1, 4):
        cache = tmp_path / str(size)
        words = ["--videos", str(videos), "--cache", str(cache), *SMALL, "frames.num=6"]
        assert extract.main([*words, f"detection.batch_size={size}"]) == 0
        clips.append(load_clip(cache / "A.safetensors"))
    for clip in clips:
        assert "RESCALED_FRAMES" in clip.header.warnings
        assert len(clip.boxes) > 0
        check_inside(clip.boxes, 96, 72)
    torch.testing.assert_close(clips[0].boxes, clips[1].boxes, atol=1e-2, rtol=1e-3)
