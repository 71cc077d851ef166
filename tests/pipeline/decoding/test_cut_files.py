"""Files that are cut at their end fail, and complete files and live recordings do not."""

from itertools import pairwise
from pathlib import Path

import pytest

from pipeline.decoding import open_video
from pipeline.decoding.completeness import missing_bytes
from pipeline.decoding.options import DecodeOptions
from pipeline.decoding.scan import scan
from pipeline.errors import FailureReason, ItemError
from tests.pipeline.ffmpeg_program import run as ffmpeg
from tests.pipeline.video_maker import with_edit

SOURCE = ("-f", "lavfi", "-i", "testsrc2=size=96x72:rate=10:duration=4")
COPY = ("-i", "base.mp4", "-c", "copy")
TONE = ("-f", "lavfi", "-i", "sine=duration=9")
SOUND = (*TONE, "-map", "0:v", "-map", "1:a", "-c:a", "pcm_s16le")
FRAGMENTS = ("-movflags", "frag_keyframe+empty_moov")

#: ffmpeg arguments of each file. Formats that cannot declare their length are recorded "live".
MADE: dict[str, tuple[str, ...]] = {
    "base.mp4": (*SOURCE, "-c:v", "libx264", "-g", "10", "-bf", "2", "-pix_fmt", "yuv420p"),
    "start.mp4": (*COPY, "-movflags", "faststart"),
    "h264.mov": COPY,
    "fragments.mp4": (*COPY, *FRAGMENTS),
    "h264.mkv": COPY,
    "h264.ts": COPY,
    "h264.flv": COPY,
    "h264.avi": COPY,
    "vp8.webm": (*SOURCE, "-c:v", "libvpx"),
    "mpeg4.avi": (*SOURCE, "-c:v", "mpeg4", "-bf", "2"),
    "mjpeg.avi": (*SOURCE, "-c:v", "mjpeg"),
    "mpeg2.mpg": (*SOURCE, "-r", "25", "-c:v", "mpeg2video"),
    "theora.ogv": (*SOURCE, "-c:v", "libtheora"),
    "wmv2.wmv": (*SOURCE, "-c:v", "wmv2"),
    "picture.gif": SOURCE,
    "mpeg2.mxf": (*SOURCE, "-r", "25", "-c:v", "mpeg2video"),
    "slow.flv": (*SOURCE, "-vf", "fps=0.5", "-c:v", "flv1"),
    "live.mkv": (*COPY, "-live", "1"),
    "live.webm": (*SOURCE, "-c:v", "libvpx", "-live", "1"),
    "long_sound.mkv": (*COPY[:2], *SOUND, "-c:v", "copy"),
    "long_sound.flv": (*COPY[:2], *SOUND, "-c:v", "copy", "-ar", "44100"),
}  # fmt: skip
#: Recordings to a pipe, so that their headers declare no length: format and arguments.
PIPED = {
    "piped.mkv": ("matroska", COPY),
    "piped.flv": ("flv", COPY),
    "piped.avi": ("avi", (*SOURCE, "-c:v", "mpeg4", "-bf", "2")),
    "piped.mp4": ("mp4", (*COPY, *FRAGMENTS)),
    "piped.wmv": ("asf", (*SOURCE, "-c:v", "wmv2")),
    "piped_sound.mkv": ("matroska", (*COPY[:2], *SOUND, "-c:v", "copy", "-live", "1")),
}
NAMES = [*MADE, *PIPED]
#: Files whose second half contains only sound, and a recording whose packets tell nothing.
UNKNOWN = ("long_sound.mkv", "long_sound.flv", "piped_sound.mkv", "piped.wmv")
SHARES = (0.3, 0.5, 0.97)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("cut")
    for name, words in MADE.items():
        ffmpeg(*(made / w if w == "base.mp4" else w for w in words), made / name)
    for name, (form, words) in PIPED.items():
        inputs = (made / w if w == "base.mp4" else w for w in words)
        (made / name).write_bytes(ffmpeg(*inputs, "-f", form, "-"))
    return made


def cut(data: bytes, share: float, name: str) -> bytes:
    """Return the first part of a file.

    In a transport stream, a cut between two frames cannot be noticed. There, the part ends after
    the first packet of a frame that has several packets.
    """
    at = int(len(data) * share)
    if not name.endswith(".ts"):
        return data[:at]
    starts = [  # of packets of the video, whose id is 256 in streams of ffmpeg
        (offset, bool(data[offset + 1] & 0x40))
        for offset in range(0, len(data) - 187, 188)
        if (data[offset + 1] & 0x1F, data[offset + 2]) == (1, 0)
    ]
    within = [
        offset
        for (offset, is_first), (_, next_is_first) in pairwise(starts)
        if is_first and not next_is_first
    ]
    return data[: min(within, key=lambda offset: abs(offset - at)) + 188]


def read_all(path: Path) -> int:
    reader = open_video(path)
    return len(reader.read(list(range(reader.num_frames))))


@pytest.mark.parametrize("name", NAMES)
def test_whole_file_is_read(folder: Path, name: str) -> None:
    counts = {"mpeg2.mpg": 100, "mpeg2.mxf": 100, "slow.flv": 2}
    assert read_all(folder / name) == counts.get(name, 40)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("name", [name for name in NAMES if name not in UNKNOWN])
def test_cut_file_is_truncated(folder: Path, tmp_path: Path, name: str, share: float) -> None:
    data = (folder / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(cut(data, share, name))
    with pytest.raises(ItemError) as caught:
        read_all(path)
    assert caught.value.reason is FailureReason.TRUNCATED_VIDEO, caught.value
    assert name in str(caught.value)


@pytest.mark.parametrize("name", ["h264.ts", "picture.gif"])
def test_padding_after_the_end_is_ignored(folder: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes((folder / name).read_bytes() + bytes(50))
    assert read_all(path) == 40


@pytest.mark.parametrize("name", ["h264.mkv", "vp8.webm", "live.webm", "h264.ts"])
def test_tolerant_mode_reads_the_rest_of_a_cut_file(
    folder: Path, tmp_path: Path, name: str
) -> None:
    data = (folder / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(cut(data, 0.5, name))
    reader = open_video(path, DecodeOptions(tolerant=True))
    clip = reader.read(list(range(reader.num_frames)))
    assert reader.source.is_degraded
    assert 10 < len(clip) < 30


def test_cut_file_with_an_edit_list_is_truncated(folder: Path, tmp_path: Path) -> None:
    """The packets that the edit list cuts off count as present, and those at the end as missing."""
    whole = with_edit((folder / "start.mp4").read_bytes(), 0.0, 1.5)
    path = tmp_path / "edit.mp4"
    path.write_bytes(whole)
    assert read_all(path) >= 15
    path.write_bytes(whole[: len(whole) * 9 // 10])
    with pytest.raises(ItemError, match="header declares 40 frames") as caught:
        read_all(path)
    assert caught.value.reason is FailureReason.TRUNCATED_VIDEO


def test_number_of_missing_bytes(folder: Path, tmp_path: Path) -> None:
    declared = {"start.mp4", "h264.mkv", "vp8.webm", "mpeg4.avi", "wmv2.wmv", "theora.ogv"}
    for name in NAMES:
        data = (folder / name).read_bytes()
        path = tmp_path / name
        assert not missing_bytes(folder / name), name
        assert (missing_bytes(folder / name) == 0) or name not in declared
        path.write_bytes(data[:-7])
        if name in declared:
            assert missing_bytes(path) == 7, name
    path.write_bytes(b"no video at all")
    assert missing_bytes(path) is None
    path.write_bytes(b"")
    assert missing_bytes(path) is None


def test_declared_duration_reveals_a_cut_recording(folder: Path, tmp_path: Path) -> None:
    """Some programs add a duration to a recording, but leave the size of its parts undeclared."""
    data = bytearray((folder / "h264.mkv").read_bytes())
    at = data.index(bytes.fromhex("18538067")) + 4
    data[at : at + 8] = b"\x01" + b"\xff" * 7
    path = tmp_path / "a.mkv"
    path.write_bytes(data)
    assert read_all(path) == 40
    cluster = data.index(bytes.fromhex("1f43b675"), len(data) // 2)
    path.write_bytes(data[:cluster])
    with pytest.raises(ItemError, match=r"header declares 4\.0 s") as caught:
        read_all(path)
    assert caught.value.reason is FailureReason.TRUNCATED_VIDEO


def test_scan_of_a_cut_file_states_what_is_missing(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    data = (folder / "h264.mkv").read_bytes()
    path.write_bytes(data[:-1000])
    found = scan(path, ignore_edit_lists=False, max_pixels=10**9, max_frames=10**6)
    assert found.is_complete is False
    assert "lacks at least 1000 bytes" in found.shortage
