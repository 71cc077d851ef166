"""Comparison of decoded frames with the images that the ffmpeg program writes.

Dump numbering is compared with the image dump of Action Genome. Presentation numbering is compared
with the frames that a player displays. The program is found on the PATH or in the wheel
imageio-ffmpeg. `ffmpeg_program` checks that its version is suitable and that its image dump agrees
with that of Action Genome. Without such a program, these tests are skipped.
"""

from dataclasses import fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.cache.reader import load_clip
from pipeline.decoding import open_video
from pipeline.decoding.frame_folder import FrameFolder
from pipeline.decoding.options import DecodeOptions
from pipeline.decoding.scan import scan
from pipeline.errors import FailureReason, ItemError
from pipeline.extract import main
from tests.pipeline import ffmpeg_program
from tests.pipeline.dataset_maker import csv_row, object_entry, person_entry, write_annotations
from tests.pipeline.ffmpeg_program import run as ffmpeg
from tests.pipeline.test_extract import SMALL

X264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "12")


def source(frames: int = 48, size: str = "96x64", rate: str = "25") -> tuple[str, ...]:
    seconds = float(frames / Fraction(rate))
    return ("-f", "lavfi", "-i", f"testsrc2=size={size}:rate={rate}:duration={seconds}")


#: Mapping from clip name to ffmpeg arguments; `{folder}` is the folder of the clips.
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
    "edit_list.mov": ("-ss", "1.3", "-i", "{folder}/long.mp4", "-c", "copy"),
    "edit_list_turned.mp4": (
        "-ss", "1.3", "-i", "{folder}/long.mp4", "-c", "copy", "-metadata:s:v:0", "rotate=270"
    ),
    "constant.mkv": (*source(), *X264),
    "b_frames.mkv": ("-i", "{folder}/b_frames.mp4", "-c", "copy"),
    "half_rate.mkv": ("-i", "{folder}/half_rate.mp4", "-c", "copy"),
    "constant.webm": (*source(12), "-c:v", "libvpx-vp9", "-deadline", "realtime"),
    "odd.webm": (*source(12, "107x61"), "-c:v", "libvpx-vp9", "-deadline", "realtime"),
    "half_rate.webm": (
        "-i", "{folder}/half_rate.mp4", "-c:v", "libvpx", "-deadline", "realtime",
        "-vsync", "passthrough",
    ),
    "constant.ts": (*source(), *X264),
    "b_frames.ts": ("-i", "{folder}/b_frames.mp4", "-c", "copy"),
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
    """Return the (H, W, 3) images that ffmpeg writes."""
    pipe = ("-f", "image2pipe", "-c:v", "ppm", "-")
    return ffmpeg_program.split_images(ffmpeg(*before, "-i", path, "-map", "0:v:0", *after, *pipe))


def without_edit_lists(path: Path) -> tuple[str, ...]:
    """Return arguments that disable edit lists, because Action Genome's ffmpeg ignores them."""
    return ("-ignore_editlist", "1") if path.suffix in (".mp4", ".mov") else ()


def our_images(path: Path, numbering: str) -> torch.Tensor:
    reader = open_video(path, numbering=numbering)  # type: ignore[arg-type]
    frames = reader.read(list(range(reader.num_frames))).frames
    return frames.permute(0, 2, 3, 1)


def assert_same(ours: torch.Tensor, theirs: list[np.ndarray]) -> None:
    assert len(ours) == len(theirs)
    for number, image in enumerate(theirs):
        assert np.array_equal(ours[number].numpy(), image), f"frame {number}"


@pytest.mark.parametrize("name", CLIPS)
def test_dump_numbering_equals_action_genome_dump(folder: Path, name: str) -> None:
    """Compare with `ffmpeg -i VIDEO %06d.png` of a version that does not support edit lists."""
    path = folder / name
    assert_same(our_images(path, "dump"), images_of(path, without_edit_lists(path), ()))


@pytest.mark.parametrize("name", CLIPS)
def test_presentation_numbering_equals_frames_of_a_player(folder: Path, name: str) -> None:
    theirs = images_of(folder / name, (), ("-vsync", "passthrough"))
    assert_same(our_images(folder / name, "presentation"), theirs)


def test_dump_has_more_frames_than_presentation(folder: Path) -> None:
    for name in ("edit_list.mp4", "half_rate.mp4", "dropped.mp4", "late.mp4"):
        dump = open_video(folder / name, numbering="dump")
        assert dump.num_frames > open_video(folder / name).num_frames


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_dump_numbering_of_avi_with_b_frames_raises(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "b.avi"
    ffmpeg(*source(), "-c:v", codec, "-bf", "2", "-pix_fmt", "yuv420p", path)
    theirs = images_of(path, (), ("-vsync", "passthrough"))
    assert_same(our_images(path, "presentation"), theirs)
    with pytest.raises(ItemError, match="with B-frames") as refused:
        open_video(path, numbering="dump")
    assert refused.value.reason is FailureReason.UNKNOWN_FRAME_MAP


#: Rotated clips and MPEG streams, which the decord backend rejects.
NOT_DECORD = {
    "turned_90.mp4",
    "turned_180.mp4",
    "edit_list_turned.mp4",
    "constant.ts",
    "b_frames.ts",
    "late.ts",
    "constant.mpg",
}


def hides_frames(path: Path) -> bool:
    """Return whether an edit list hides frames.

    Some versions of ffmpeg write such an edit list for dropped frames.
    """
    applied, ignored = (
        scan(path, ignore_edit_lists=ignore, max_pixels=10**9, max_frames=10**6)
        for ignore in (False, True)
    )
    return len(applied.pts_s) < ignored.num_packets


@pytest.mark.parametrize("name", CLIPS)
@pytest.mark.parametrize("numbering", ["presentation", "dump"])
@pytest.mark.parametrize("backend", ["opencv", "decord"])
def test_other_backends_agree_with_pyav_or_raise(
    folder: Path, name: str, backend: Any, numbering: Any
) -> None:
    path = folder / name
    ours = open_video(path, numbering=numbering)
    last = ours.num_frames - 1
    every, some = list(range(last + 1)), sorted({last // 3, last // 2, last - 1})
    hides = hides_frames(path)
    assert hides or not name.startswith("edit_list")
    is_refused = hides and (numbering == "dump" or backend == "decord")
    if is_refused or (backend == "decord" and name in NOT_DECORD):
        with pytest.raises(ItemError, match=r"use decode\.backend=pyav"):
            open_video(path, DecodeOptions(backend=backend), numbering=numbering).read(every)
        return
    theirs = open_video(path, DecodeOptions(backend=backend), numbering=numbering)
    frames = ours.read(every).frames
    assert torch.equal(theirs.read(every).frames, frames)
    assert torch.equal(theirs.read(some).frames, frames[some])
    assert torch.equal(theirs.read([last]).frames, frames[[last]])


DUMPED = ("constant", "b_frames", "dropped", "half_rate", "late", "edit_list", "turned_90")


@pytest.fixture(scope="module")
def dumped(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of PNG files, dumped with the command of Action Genome."""
    root = tmp_path_factory.mktemp("frames")
    for name in DUMPED:
        path = folder / f"{name}.mp4"
        (root / path.name).mkdir()
        ffmpeg(*without_edit_lists(path), "-i", path, root / path.name / "%06d.png")
        (root / path.name / "fps.txt").write_text(str(open_video(path).source.fps))
    return root


@pytest.mark.parametrize("name", DUMPED)
def test_dumped_files_equal_the_frames_of_the_video(folder: Path, dumped: Path, name: str) -> None:
    video = open_video(folder / f"{name}.mp4", numbering="dump")
    frames = FrameFolder(dumped / f"{name}.mp4", sha256="")
    assert frames.num_frames == video.num_frames
    every = list(range(video.num_frames))
    ours, theirs = next(frames.iterate(every, len(every))), video.read(every)
    assert torch.equal(ours.frames, theirs.frames)
    assert torch.equal(ours.timestamps_s, theirs.timestamps_s)


def extract(root: Path, cache: Path, *words: str) -> None:
    given = ("boxes=ground-truth", "relations=ground-truth", "decode.workers=0")
    place = ["--videos", str(root), "--annotations", str(cache.parent), "--cache", str(cache)]
    assert main([*place, *SMALL, *given, *words]) == 0


def test_caches_of_dumped_frames_and_of_videos_are_equal(
    folder: Path, dumped: Path, tmp_path: Path
) -> None:
    objects, persons = {}, {}
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in DUMPED:
        (videos / f"{name}.mp4").symlink_to(folder / f"{name}.mp4")
        for number in (1, 17, 41):
            key = f"{name}.mp4/{number:06d}.png"
            objects[key] = [object_entry()]
            persons[key] = person_entry((64, 96) if name == "turned_90" else (96, 64))
    write_annotations(tmp_path, objects, persons, [csv_row(name, "", "3.00") for name in DUMPED])
    extract(videos, tmp_path / "of_videos")
    extract(dumped, tmp_path / "of_frames", "decode.backend=frames")
    for name in DUMPED:
        clips = [
            load_clip(tmp_path / c / f"{name}.safetensors") for c in ("of_videos", "of_frames")
        ]
        assert clips[0].frame_index.tolist() == [0, 16, 40]
        for field in {f.name for f in fields(clips[0])} - {"header", "predicates", "instances"}:
            assert torch.equal(*(getattr(clip, field) for clip in clips)), field
        assert torch.equal(*(clip.predicates["ground-truth"] for clip in clips))
        assert [clip.header.source.edit_lists for clip in clips] == ["ignored", "dumped"]


def test_unsuitable_ffmpeg_versions_are_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "ffmpeg"
    monkeypatch.setattr(ffmpeg_program, "_wheel", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    for says, problem in (("9.0.2", "version 9"), ("n5.1", "version 5 dumps []")):
        program.write_text(f"#!/bin/sh\n[ $1 = -version ] && echo ffmpeg version {says}\n")
        program.chmod(0o755)
        path, why = ffmpeg_program.find_ffmpeg.__wrapped__()
        assert not path
        assert problem in why
