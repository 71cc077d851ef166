import errno
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from pipeline.errors import FailureReason, ItemError
from pipeline.explanation.media import encoding
from pipeline.explanation.media.encoding import H264, VP9, VideoOutput, whole_file
from pipeline.explanation.media.video import write_video
from pipeline.runtime.item_errors import as_item_error
from tests.pipeline.explanation.media.scene_maker import (
    make_scene,
    read_back,
    sound_of,
    write_sounding_clip,
)
from tests.pipeline.video_maker import write_clip

LIMITED = """
import resource, sys
from pathlib import Path
from pipeline.errors import ItemError
from pipeline.explanation.media.video import write_video
from pipeline.runtime.item_errors import as_item_error
from tests.pipeline.explanation.media.scene_maker import make_scene
scene = make_scene()
for size in map(int, sys.argv[3:]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    try:
        with as_item_error("clip"):
            write_video(scene, Path(sys.argv[1]), Path(sys.argv[2]))
    except ItemError as error:
        print(error.reason.value, error)
"""


def test_full_disk_leaves_no_file(tmp_path: Path) -> None:
    clip, out = write_clip(tmp_path / "clip.mp4", 30), tmp_path / "out"
    out.mkdir()
    whole = write_video(make_scene(), clip, tmp_path / "whole.mp4").stat().st_size
    sizes = [str(int(whole * share)) for share in (0.0, 0.3, 0.6, 0.95, 0.999)]
    words = [str(clip), str(out / "annotated.mp4"), *sizes]
    ran = subprocess.run([sys.executable, "-c", LIMITED, *words], capture_output=True, text=True)
    lines = ran.stdout.splitlines()
    assert len(lines) == len(sizes), ran.stderr
    assert all(line.startswith("disk-full clip: ") for line in lines)
    assert all("File too large" in line for line in lines)
    assert [*out.iterdir()] == []


def test_full_disk_at_the_end_leaves_the_file_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    clip = write_clip(tmp_path / "clip.mp4", 4)
    path = tmp_path / "annotated.mp4"
    path.write_bytes(b"before")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ItemError, match="No space left") as caught, as_item_error("clip"):
        write_video(make_scene(), clip, path)
    assert caught.value.reason is FailureReason.DISK_FULL
    assert path.read_bytes() == b"before"
    assert {p.name for p in tmp_path.iterdir()} == {"clip.mp4", "annotated.mp4"}


@pytest.mark.parametrize("raised", [KeyboardInterrupt, ItemError(FailureReason.TIME_LIMIT, "late")])
def test_interrupted_video_leaves_no_file(tmp_path: Path, raised: Any) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 10)

    def stop(done: int, _: int) -> None:
        if done == 5:
            raise raised

    with pytest.raises((KeyboardInterrupt, ItemError)):
        write_video(make_scene(), clip, tmp_path / "annotated.mp4", progress=stop)
    assert {p.name for p in tmp_path.iterdir()} == {"clip.mp4"}


@pytest.mark.parametrize(
    ("number", "expected"),
    [(errno.ENOSPC, OSError), (errno.EFBIG, OSError), (-1094995529, ItemError)],
)
def test_errors_of_ffmpeg_become_errors_of_the_disk_or_the_video(
    tmp_path: Path, number: int, expected: type[Exception]
) -> None:
    def write() -> None:
        with whole_file(tmp_path / "a.mp4") as temporary:
            temporary.write_bytes(b"part")
            raise av.FFmpegError(number, "cannot write")

    with pytest.raises(expected) as caught:
        write()
    assert getattr(caught.value, "errno", None) == (number if number > 0 else None)
    assert [*tmp_path.iterdir()] == []


def test_folder_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 2)
    with pytest.raises(OSError, match="No such file"):
        write_video(make_scene(), clip, tmp_path / "none" / "annotated.mp4")


def test_packets_that_the_container_refuses_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source, path = write_sounding_clip(tmp_path / "clip.mp4"), tmp_path / "a.mp4"
    image, tick = Image.new("RGB", (64, 48)), Fraction(1, 25)
    with (
        av.open(str(source)) as first,
        av.open(str(source)) as second,
        VideoOutput(path, H264, size=(64, 48), rate=1 / tick, time_base=tick) as output,
    ):
        copied = output.container.add_stream_from_template(first.streams.audio[0])
        output.write(image, 0)
        for container in (first, second):  # the times of the second sound jump back
            packets: list[Any] = [p for p in container.demux(audio=0) if p.size]
            for packet in packets:
                packet.stream = copied
            output.copy(packets)
        output.write(image, 1)
    assert [data for _, data in sound_of(path)] == [data for _, data in sound_of(source)]
    assert "left out" in caplog.text
    assert len(read_back(path)[0]) == 2


@pytest.mark.parametrize("kind", [H264, VP9])
def test_colours_survive_the_encoding(tmp_path: Path, kind: encoding.VideoFormat) -> None:
    colours = [(255, 180, 84), (20, 90, 200), (240, 240, 240), (16, 20, 26)]
    path = tmp_path / f"a{kind.suffix}"
    with VideoOutput(
        path, kind, size=(320, 240), rate=Fraction(25), time_base=Fraction(1, 25)
    ) as output:
        for i, colour in enumerate(colours):
            output.write(Image.new("RGB", (320, 240), colour), i)
    with av.open(str(path)) as container:
        frames = [*container.decode(video=0)]
    for frame, colour in zip(frames, colours, strict=True):
        assert frame.colorspace == 1  # ITU-R BT.709
        found = frame.to_ndarray(format="rgb24")[100, 100].astype(int)
        assert np.abs(found - colour).max() <= 6
    assert len(read_back(path)[0]) == 4
