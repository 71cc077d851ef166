import struct
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from pipeline.decoding import DecodeOptions, open_video
from pipeline.errors import FailureReason, ItemError
from pipeline.explanation.explanation import Explanation
from pipeline.explanation.media import encoding, video
from pipeline.explanation.media.canvas import Canvas
from pipeline.explanation.media.painting import DARK, OBJECT
from pipeline.explanation.media.video import write_video
from tests.pipeline.explanation.media.scene_maker import action, make_scene, read_back
from tests.pipeline.video_maker import number_of, numbered_image, write_clip

BOXES = [{0: (20.0, 10.0, 40.0, 30.0)}, {0: (40.0, 18.0, 60.0, 40.0)}]


def canvas_of(scene: Explanation, clip: Path) -> Canvas:
    reader = open_video(clip)
    size = reader.source.width, reader.source.height
    return Canvas(scene, reader.timestamps_s, reader.source.duration_s, size)


def shown_numbers(images: list[np.ndarray], canvas: Canvas) -> list[int]:
    """Return the numbers that the pictures show in the rows without boxes at the top."""
    left, top, right, _ = canvas.picture
    return [number_of(image[top : top + 4 * canvas.zoom, left:right]) for image in images]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.mp4", 40)


def test_frames_times_and_size_are_those_of_the_source(clip: Path, tmp_path: Path) -> None:
    scene = make_scene(BOXES, predictions=[action()])
    path = write_video(scene, clip, tmp_path / "annotated.mp4")
    times, images = read_back(path)
    assert times == pytest.approx([i / 25 for i in range(40)], abs=1e-6)
    canvas = canvas_of(scene, clip)
    assert images[0].shape == (canvas.size[1], canvas.size[0], 3)
    assert canvas.picture[2] - canvas.picture[0] == 64 * canvas.zoom
    assert shown_numbers(images, canvas) == [*range(40)]
    with av.open(str(path)) as container:
        stream: Any = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.average_rate == 25
        assert float(stream.duration * stream.time_base) == pytest.approx(1.6)
        assert not container.streams.audio
    data = path.read_bytes()
    assert 0 < data.find(b"moov") < data.find(b"mdat")
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001), Fraction(10)])
def test_frame_rate_is_that_of_the_source(tmp_path: Path, rate: Fraction) -> None:
    source = tmp_path / "clip.mp4"
    with av.open(str(source), "w") as container:
        stream: Any = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(12):
            frame = av.VideoFrame.from_ndarray(numbered_image(i), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    scene = make_scene(BOXES, num_frames=12, fps=float(rate))
    path = write_video(scene, source, tmp_path / "annotated.mp4")
    with av.open(str(path)) as read:
        assert read.streams.video[0].average_rate == rate
    assert read_back(path)[0] == read_back(source)[0]


@pytest.mark.parametrize("times", [[0, 1, 2, 5, 6, 11, 12, 30], [0, 1, 2, 5, 6, 11, 30, 31]])
def test_times_of_a_variable_frame_rate_are_kept(tmp_path: Path, times: list[int]) -> None:
    source = write_clip(tmp_path / "clip.mkv", 8, times=times)
    scene = make_scene(BOXES, frames=[0, 7], num_frames=8, times=[0.0, 1.2])
    path = write_video(scene, source, tmp_path / "annotated.mp4")
    found, images = read_back(path)
    assert found == pytest.approx([t / 25 for t in times], abs=1e-6)
    assert shown_numbers(images, canvas_of(scene, source)) == [*range(8)]
    with av.open(str(path)) as container:
        assert container.duration is not None
        assert container.duration / 1e6 == pytest.approx((times[-1] + 1) / 25, abs=1e-3)


@pytest.mark.parametrize("size", [(101, 75), (64, 48), (2, 2), (641, 359), (48, 400)])
def test_sizes_are_even_and_the_picture_is_whole(size: tuple[int, int]) -> None:
    canvas = Canvas(make_scene(BOXES, size=size), [0.0, 0.1], 0.2, size)
    assert canvas.size[0] % 2 == canvas.size[1] % 2 == 0
    assert canvas.size[0] >= 640
    left, top, right, bottom = canvas.picture
    assert (right - left, bottom - top) == (size[0] * canvas.zoom, size[1] * canvas.zoom)
    assert right <= canvas.size[0]
    image = Image.new("RGB", size, (0, 200, 0))
    painted = np.asarray(canvas.paint(1, image))
    assert painted.shape == (canvas.size[1], canvas.size[0], 3)
    assert (painted[top, left : left + canvas.zoom] == (0, 200, 0)).all()


def test_odd_frames_can_be_encoded(tmp_path: Path) -> None:
    frames = np.stack([numbered_image(i, 101, 75) for i in range(5)])
    scene = make_scene(BOXES, frames=[0, 4], num_frames=5, size=(101, 75))
    times, images = read_back(write_video(scene, frames, tmp_path / "annotated.mp4"))
    assert len(times) == 5
    assert shown_numbers(images, Canvas(scene, times, 0.2, (101, 75))) == [*range(5)]


def test_rotated_video_is_upright(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "clip.mp4", 6)
    data = bytearray(source.read_bytes())
    matrix = data.index(b"tkhd") + 44  # ISO/IEC 14496-12, 8.3.2: a quarter turn clockwise
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    source.write_bytes(data)
    scene = make_scene(BOXES, frames=[0, 5], num_frames=6, size=(48, 64))
    canvas = canvas_of(scene, source)
    _, images = read_back(write_video(scene, source, tmp_path / "annotated.mp4"))
    with av.open(str(source)) as container:
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    for image, lying in zip(images, decoded, strict=True):
        upright = np.rot90(lying, -1)
        picture = Image.fromarray(image).crop(canvas.picture).resize((48, 64))
        found, turned = np.asarray(picture).astype(int), upright[::-1, ::-1]
        assert np.abs(found - upright).mean() < 0.6 * np.abs(found - turned).mean()


def test_one_frame_is_a_video(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "clip.mp4", 1)
    scene = make_scene(BOXES[:1], num_frames=1, predictions=[action(between=(0.0, 0.0))])
    path = write_video(scene, source, tmp_path / "annotated.mp4")
    assert len(read_back(path)[0]) == 1
    with av.open(str(path)) as container:
        assert container.duration == pytest.approx(40_000, abs=2000)


@pytest.mark.parametrize("boxes", [[], [{}, {}]])
def test_video_without_tokens_and_actions_has_an_empty_bar(
    clip: Path, tmp_path: Path, boxes: list[dict[int, Any]]
) -> None:
    _, images = read_back(write_video(make_scene(boxes), clip, tmp_path / "annotated.mp4"))
    assert len(images) == 40


def test_frame_folder_and_array_have_no_sound(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    frames = np.stack([numbered_image(i) for i in range(6)])
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{i + 1:06}.png")
    scene = make_scene(BOXES, frames=[0, 5], num_frames=6, fps=30000 / 1001)
    options = DecodeOptions(backend="frames")
    times, dumped = read_back(write_video(scene, folder, tmp_path / "a.mp4", options=options))
    assert times == pytest.approx([i * 1001 / 30000 for i in range(6)], abs=1e-6)
    _, given = read_back(write_video(scene, frames, tmp_path / "b.mp4"))
    assert np.array_equal(dumped, given)


def test_box_at_the_sampled_frame_has_its_colour_in_the_video(clip: Path, tmp_path: Path) -> None:
    scene = make_scene(BOXES, num_frames=40)
    canvas = canvas_of(scene, clip)
    images = read_back(write_video(scene, clip, tmp_path / "annotated.mp4"))[1]
    left, zoom = canvas.picture[0], canvas.zoom
    edge = images[10][18 * zoom + 1, left + 44 * zoom : left + 56 * zoom].astype(int)
    assert np.abs(edge - OBJECT).mean() < 40
    between = images[5][18 * zoom + 1, left + 44 * zoom : left + 56 * zoom].astype(int)
    assert np.abs(between - OBJECT).mean() > 60


def test_picture_has_a_frame_at_the_moment_of_the_reason(clip: Path) -> None:
    moment = action(between=(0.2, 0.3))
    canvas = canvas_of(make_scene(BOXES, num_frames=40, predictions=[moment]), clip)
    picture = Image.new("RGB", (64, 48))
    early, late = (np.asarray(canvas.paint(i, picture.copy())) for i in (5, 39))
    left, top, right, bottom = canvas.picture
    frame = np.array([int(DARK.reason[i : i + 2], 16) for i in (1, 3, 5)])
    assert (early[bottom - 1, left:right] == frame).all()
    assert not (late[bottom - 1, left:right] == frame).all()
    assert (early[top, left:right] == frame).all()
    assert (early[bottom:] != late[bottom:]).any()


def test_progress_is_reported_after_each_frame(clip: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    write_video(make_scene(), clip, tmp_path / "a.mp4", progress=lambda *row: seen.append(row))
    assert seen == [(i + 1, 40) for i in range(40)]


def test_webm_is_written_without_libx264(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "H264", replace(encoding.H264, codec="no-such-encoder"))
    path = write_video(make_scene(BOXES), clip, tmp_path / "annotated.mp4")
    assert path.name == "annotated.webm"
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "vp9"
    assert read_back(path)[0] == pytest.approx([i / 25 for i in range(40)], abs=1e-3)


@pytest.mark.parametrize("is_cut", [True, False])
def test_damaged_video_is_written_as_far_as_it_can_be_decoded(tmp_path: Path, is_cut: bool) -> None:
    source = write_clip(tmp_path / "clip.mp4", 60)
    data = source.read_bytes()
    noise = np.random.default_rng(0).integers(0, 256, 4000, dtype=np.uint8).tobytes()
    middle = len(data) * 2 // 3
    source.write_bytes(data[:middle] + (b"" if is_cut else noise + data[middle + 4000 :]))
    scene = make_scene(BOXES, num_frames=60)
    with pytest.raises(ItemError):
        write_video(scene, source, tmp_path / "annotated.mp4")
    assert not (tmp_path / "annotated.mp4").exists()
    options = DecodeOptions(tolerant=True)
    times, images = read_back(write_video(scene, source, tmp_path / "a.mp4", options=options))
    reader = open_video(source, options)
    parts = reader.iterate(range(reader.num_frames), 4)
    wanted = [time for part in parts for time in part.timestamps_s.tolist()]
    assert 20 < len(wanted) < 60 or not is_cut
    assert times == pytest.approx(wanted, abs=1e-6)
    assert len(images) == len(wanted)


def test_dumped_numbers_are_those_of_the_dump(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "clip.mp4", 8, times=[0, 1, 2, 3, 8, 9, 10, 11])
    reader = open_video(source, numbering="dump")
    scene = make_scene(BOXES, frames=[0, reader.num_frames - 1], num_frames=reader.num_frames)
    path = write_video(scene, source, tmp_path / "annotated.mp4", numbering="dump")
    times, images = read_back(path)
    assert times == pytest.approx(reader.timestamps_s, abs=1e-6)
    wanted = [number_of(f.permute(1, 2, 0).numpy()) for f in reader.read(range(len(times))).frames]
    assert shown_numbers(images, canvas_of(scene, source)) == wanted


def test_another_video_is_refused(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "clip.mp4", 4)
    with pytest.raises(ItemError, match="64x48") as caught:
        write_video(make_scene(BOXES, size=(32, 32)), source, tmp_path / "annotated.mp4")
    assert caught.value.reason is FailureReason.CHANGED_VIDEO


def test_time_base_of_a_constant_rate_is_one_frame() -> None:
    rate = Fraction(30000, 1001)
    frames = np.zeros((3, 4, 4, 3), np.uint8)
    assert video.time_base([i / float(rate) for i in range(3)], rate, frames) == 1 / rate
    assert video.time_base([0.0, 0.5, 0.6], rate, frames) == Fraction(1, 90_000)
