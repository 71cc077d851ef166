"""Frame by frame the images of the ffmpeg program: Action Genome's dump, and what a player shows.

Skipped where there is no ffmpeg up to version 6: later ones repeat other frames of variable rates.
"""

import re
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.decoding import open_video
from pipeline.errors import FailureReason, ItemError

FFMPEG = shutil.which("ffmpeg")
X264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "12")


def version() -> int:
    if FFMPEG is None:
        return 99
    said = subprocess.run([FFMPEG, "-version"], capture_output=True, text=True, check=True).stdout
    found = re.match(r"ffmpeg version \D?(\d+)", said)
    return int(found[1]) if found else 99


pytestmark = pytest.mark.skipif(
    version() > 6, reason="the ffmpeg program (up to version 6) expected on the PATH"
)


def ffmpeg(*words: object) -> bytes:
    done = subprocess.run(
        [str(FFMPEG), "-y", "-loglevel", "error", *map(str, words)],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def source(frames: int = 48, size: str = "96x64", rate: str = "25") -> tuple[str, ...]:
    seconds = float(frames / Fraction(rate))
    return ("-f", "lavfi", "-i", f"testsrc2=size={size}:rate={rate}:duration={seconds}")


#: Name -> words of ffmpeg; `{folder}` holds clips made before.
CLIPS: dict[str, tuple[str, ...]] = {
    "constant.mp4": (*source(), *X264),
    "b_frames.mp4": (*source(), *X264, "-bf", "8", "-x264-params", "open-gop=1:b-pyramid=normal"),
    "ntsc.mp4": (*source(rate="30000/1001"), *X264),
    "dropped.mp4": (*source(80), "-vf", "select='not(eq(mod(n,4),2))'", "-vsync", "vfr", *X264),
    "half_rate.mp4": (
        *source(96), "-vf", "select='if(gt(t,2),not(mod(n,2)),1)'", "-vsync", "vfr", *X264
    ),
    "jitter.mp4": (
        *source(), "-vf", "setpts='PTS+0.3*random(0)/TB/25'", "-vsync", "passthrough", *X264
    ),
    "late.mp4": (
        *source(), "-f", "lavfi", "-i", "sine=duration=3",
        "-filter:v", "setpts=PTS+1.5/TB", "-vsync", "passthrough", *X264, "-c:a", "aac",
    ),
    "long.mp4": (*source(100), *X264, "-g", "50"),
    "edit_list.mp4": ("-ss", "1.3", "-i", "{folder}/long.mp4", "-c", "copy"),
    "turned_90.mp4": (
        "-i", "{folder}/constant.mp4", "-c", "copy", "-metadata:s:v:0", "rotate=90"
    ),
    "turned_180.mp4": (
        "-i", "{folder}/constant.mp4", "-c", "copy", "-metadata:s:v:0", "rotate=180"
    ),
    "odd.mp4": (*source(12, "107x61"), "-c:v", "libx264", "-pix_fmt", "yuv444p"),
    "constant.mkv": (*source(), *X264),
    "half_rate.mkv": ("-i", "{folder}/half_rate.mp4", "-c", "copy"),
    "constant.webm": (*source(12), "-c:v", "libvpx-vp9", "-deadline", "realtime"),
    "constant.ts": (*source(), *X264),
    "late.ts": ("-i", "{folder}/late.mp4", "-c", "copy"),
    "plain.avi": (*source(), "-c:v", "mpeg4", "-bf", "0"),
    "constant.mpg": (*source(), "-c:v", "mpeg2video"),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("ffmpeg")
    for name, words in CLIPS.items():
        ffmpeg(*(word.format(folder=made) if "{" in word else word for word in words), made / name)
    return made


def images_of(path: Path, before: tuple[str, ...], after: tuple[str, ...]) -> list[np.ndarray]:
    """What ffmpeg writes as images, (H, W, 3) each."""
    words = (*before, "-i", path, "-map", "0:v:0", *after, "-f", "image2pipe", "-c:v", "ppm", "-")
    data, at, images = ffmpeg(*words), 0, []
    while at < len(data):
        header = data[at : at + 40].split(b"\n", 3)
        width, height = map(int, header[1].split())
        at += sum(len(line) + 1 for line in header[:3])
        images.append(np.frombuffer(data, np.uint8, width * height * 3, at))
        images[-1] = images[-1].reshape(height, width, 3)
        at += width * height * 3
    return images


def our_images(path: Path, numbering: str) -> torch.Tensor:
    reader = open_video(path, numbering=numbering)  # type: ignore[arg-type]
    frames = reader.read(list(range(reader.num_frames))).frames
    return frames.permute(0, 2, 3, 1)


def assert_same(ours: torch.Tensor, theirs: list[np.ndarray]) -> None:
    assert len(ours) == len(theirs)
    for number, image in enumerate(theirs):
        assert np.array_equal(ours[number].numpy(), image), f"frame {number}"


@pytest.mark.parametrize("name", CLIPS)
def test_the_dump_of_action_genome(folder: Path, name: str) -> None:
    """`ffmpeg -i VIDEO %06d.png` of a version that knew no edit lists."""
    ignore = ("-ignore_editlist", "1") if name.endswith(".mp4") else ()
    assert_same(our_images(folder / name, "dump"), images_of(folder / name, ignore, ()))


@pytest.mark.parametrize("name", CLIPS)
def test_what_a_player_shows(folder: Path, name: str) -> None:
    theirs = images_of(folder / name, (), ("-vsync", "passthrough"))
    assert_same(our_images(folder / name, "presentation"), theirs)


def test_the_two_differ_where_they_should(folder: Path) -> None:
    for name in ("edit_list.mp4", "half_rate.mp4", "dropped.mp4", "late.mp4"):
        dump = open_video(folder / name, numbering="dump")
        assert dump.num_frames > open_video(folder / name).num_frames


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_an_avi_with_b_frames_has_no_known_numbers(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "b.avi"
    ffmpeg(*source(), "-c:v", codec, "-bf", "2", "-pix_fmt", "yuv420p", path)
    theirs = images_of(path, (), ("-vsync", "passthrough"))
    assert_same(our_images(path, "presentation"), theirs)
    with pytest.raises(ItemError, match="AVI with B-frames") as refused:
        open_video(path, numbering="dump")
    assert refused.value.reason is FailureReason.UNKNOWN_FRAME_MAP
