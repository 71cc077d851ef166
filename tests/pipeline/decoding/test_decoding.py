import os
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.decoding import open_video
from pipeline.decoding.dump_map import dump_to_ordinal
from pipeline.decoding.options import DecodeOptions
from pipeline.decoding.video_frames import VideoFrames
from pipeline.errors import FailureReason, ItemError
from tests.pipeline.video_maker import number_of, write_clip

CLIPS = os.environ.get("LAIAR_CLIPS")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "a.mp4", options={"bf": "3"})


def numbers(frames: VideoFrames) -> list[int]:
    return [number_of(f.permute(1, 2, 0).numpy()) for f in frames.frames]


@given(st.sets(st.integers(0, 39), min_size=1), st.integers(1, 7))
@settings(max_examples=15, deadline=None)
def test_requested_frames_are_returned(clip: Path, wanted: set[int], batch: int) -> None:
    reader = open_video(clip)
    assert reader.num_frames == 40
    indices = sorted(wanted)
    parts = list(reader.iterate(indices, batch))
    assert [n for part in parts for n in numbers(part)] == indices
    assert all(len(part) <= batch for part in parts)
    whole = reader.read(indices)
    assert torch.equal(whole.frames, torch.cat([part.frames for part in parts]))
    torch.testing.assert_close(
        whole.timestamps_s, torch.tensor(indices, dtype=torch.float64) / 25, atol=1e-3, rtol=0
    )


@pytest.mark.parametrize("suffix", ["mkv", "mov", "avi", "ts"])
def test_containers_are_decoded(tmp_path: Path, suffix: str) -> None:
    reader = open_video(write_clip(tmp_path / f"a.{suffix}", 20, options={"bf": "0"}))
    assert numbers(reader.read([0, 7, 19])) == [0, 7, 19]


def test_irregular_times_give_a_constant_rate_dump(tmp_path: Path) -> None:
    times = [0, 1, 2, 3, 6, 7, 8, 9]  # two frames are missing after the fourth
    path = write_clip(tmp_path / "vfr.mp4", 8, times=times, options={"bf": "0"})
    assert numbers(open_video(path).read(list(range(8)))) == list(range(8))
    dump = open_video(path, numbering="dump")
    assert dump.num_frames == 10
    shown = numbers(dump.read(list(range(10))))
    assert shown == sorted(shown)
    assert [shown[t] for t in times] == list(range(8))
    assert dump.source.edit_lists == "ignored"


def test_constant_rate_gives_the_identity_mapping(clip: Path) -> None:
    assert numbers(open_video(clip, numbering="dump").read([0, 11, 39])) == [0, 11, 39]
    assert dump_to_ordinal([i / 30 for i in range(300)], 0.0, 30.0) == list(range(300))


@given(st.lists(st.floats(0.2, 3), min_size=1, max_size=40))
@settings(max_examples=50, deadline=None)
def test_dump_ordinals_are_sorted_and_close_in_time(steps: list[float]) -> None:
    times = [sum(steps[:i]) / 25 for i in range(len(steps))]
    ordinals = dump_to_ordinal(times, 0.0, 25.0)
    assert ordinals == sorted(ordinals)
    assert set(ordinals) <= set(range(len(steps)))
    for file, ordinal in enumerate(ordinals):
        assert abs(times[ordinal] * 25 - file) <= 3.2


def read_all(path: Path) -> VideoFrames:
    reader = open_video(path)
    return reader.read(list(range(reader.num_frames)))


def damaged(tmp_path: Path, clip: Path, kind: str) -> Path:
    path = tmp_path / f"{kind}.mp4"
    data = clip.read_bytes()
    contents = {
        "empty": b"",
        "text": b"no video at all\n" * 50,
        "header-only": data[:200],
        "truncated": data[: len(data) * 6 // 10],
        "zeroed": data[: len(data) // 2] + bytes(4096) + data[len(data) // 2 + 4096 :],
    }
    path.write_bytes(contents[kind])
    return path


@pytest.mark.parametrize(
    ("kind", "reasons"),
    [
        ("empty", {FailureReason.UNREADABLE_VIDEO}),
        ("text", {FailureReason.UNREADABLE_VIDEO}),
        ("header-only", {FailureReason.TRUNCATED_VIDEO}),
        ("truncated", {FailureReason.TRUNCATED_VIDEO}),
        ("zeroed", {FailureReason.CORRUPT_VIDEO}),
    ],
)
def test_broken_file_raises_with_reason(
    tmp_path: Path, clip: Path, kind: str, reasons: set[FailureReason]
) -> None:
    path = damaged(tmp_path, clip, kind)
    with pytest.raises(ItemError) as caught:
        read_all(path)
    assert caught.value.reason in reasons
    assert path.name in str(caught.value)


def test_tolerant_mode_reads_truncated_file(tmp_path: Path, clip: Path) -> None:
    reader = open_video(damaged(tmp_path, clip, "truncated"), DecodeOptions(tolerant=True))
    assert reader.source.is_degraded
    frames = reader.read(list(range(reader.num_frames)))
    assert 0 < len(frames) < 40
    assert numbers(frames)[:5] == [0, 1, 2, 3, 4]


def test_tolerant_mode_keeps_frame_numbers_after_damage(tmp_path: Path, clip: Path) -> None:
    reader = open_video(damaged(tmp_path, clip, "zeroed"), DecodeOptions(tolerant=True))
    frames = reader.read(list(range(reader.num_frames)))
    assert reader.source.is_degraded
    first = [n for n in range(10) if n in frames.frame_index.tolist()]
    assert numbers(frames)[: len(first)] == first
    tail = frames.frame_index >= 36  # the last GOP is undamaged
    assert numbers(frames)[-int(tail.sum()) :] == frames.frame_index[tail].tolist()
    whole = open_video(clip, DecodeOptions(tolerant=True))
    assert numbers(whole.read(list(range(40)))) == list(range(40))
    assert not whole.source.is_degraded


def test_limits_and_index_ranges_are_checked(clip: Path) -> None:
    with pytest.raises(ItemError, match=r"decode\.max_pixels"):
        open_video(clip, DecodeOptions(max_pixels=100))
    with pytest.raises(ItemError, match=r"decode\.max_frames"):
        open_video(clip, DecodeOptions(max_frames=10))
    with pytest.raises(ItemError, match="got 40"):
        open_video(clip).read([40])
    with pytest.raises(ValueError, match="strictly increasing"):
        open_video(clip).read([3, 3])
    assert len(open_video(clip).read([])) == 0


@pytest.mark.clips
@pytest.mark.skipif(not CLIPS, reason="LAIAR_CLIPS is not set")
@pytest.mark.parametrize(
    ("name", "num", "size"),
    [
        ("intel_one_by_one_person.mp4", 1394, (768, 432)),
        ("intel_asl_eat.mkv", 47, (640, 480)),
        ("sam2_bedroom.mp4", 200, (960, 540)),
        ("sam2_juggle.mp4", 247, (1280, 720)),
    ],
)
def test_real_clips_are_decoded(name: str, num: int, size: tuple[int, int]) -> None:
    reader = open_video(Path(str(CLIPS)) / name)
    assert reader.num_frames == num
    assert (reader.source.width, reader.source.height) == size
    frames = reader.read([0, num // 2])
    assert float(frames.frames.float().std()) > 10
