import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.cache.reader import load_clip
from pipeline.config.loading import load_config
from pipeline.datasets.video_files import list_videos, video_sha256
from pipeline.decoding import DirectStream, FrameRequest, open_video
from pipeline.decoding.frame_folder import FrameFolder
from pipeline.decoding.options import DecodeOptions
from pipeline.errors import FailureReason, ItemError, UsageError
from pipeline.extract import main
from tests.pipeline.dataset_maker import write_dataset
from tests.pipeline.test_extract import SMALL
from tests.pipeline.video_maker import number_of, write_clip

FPS = DecodeOptions(backend="frames", fps=25.0)
WORDS = [*SMALL, "decode.workers=0"]


def dump(video: Path, folder: Path, *, suffix: str = "png", digits: int = 6) -> Path:
    """Write all frames of a video, numbered as in ffmpeg's dump."""
    folder.mkdir(parents=True)
    reader = open_video(video, numbering="dump")
    for batch in reader.iterate(range(reader.num_frames), 1):
        image = Image.fromarray(batch.frames[0].permute(1, 2, 0).numpy())
        image.save(folder / f"{int(batch.frame_index[0]) + 1:0{digits}}.{suffix}")
    return folder


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("frames")
    return dump(write_clip(root / "A.mp4", 12), root / "dump" / "A.mp4")


@pytest.fixture
def copy(frames: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(frames, tmp_path / "A.mp4"))


def test_dumped_frames_equal_the_frames_of_the_video(frames: Path) -> None:
    video = open_video(frames.parent.parent / "A.mp4", numbering="dump")
    whole = video.read(range(12))
    options = DecodeOptions(backend="frames", fps=25.0)
    request = FrameRequest(frames, video_sha256(frames), options, num_uniform=12, batch_size=5)
    stream = DirectStream(request)
    batches = list(stream)
    assert [len(batch) for batch in batches] == [5, 5, 2]
    assert torch.equal(torch.cat([b.frames for b in batches]), whole.frames)
    assert torch.equal(torch.cat([b.timestamps_s for b in batches]), whole.timestamps_s)
    assert stream.source is not None
    assert (stream.source.edit_lists, stream.source.num_frames) == ("dumped", 12)
    assert (stream.source.width, stream.source.height) == (64, 48)


def test_short_numbers_jpeg_and_orientation_tags_are_read(frames: Path, tmp_path: Path) -> None:
    video = frames.parent.parent / "A.mp4"
    short = FrameFolder(dump(video, tmp_path / "a", digits=1), DecodeOptions(fps=25.0), sha256="")
    found = next(short.iterate([9, 11], 2))
    assert [number_of(f.permute(1, 2, 0).numpy()) for f in found.frames] == [9, 11]
    jpeg = dump(video, tmp_path / "b", suffix="JPEG")
    turned = Image.open(jpeg / "000001.JPEG")
    exif = turned.getexif()
    exif[0x0112] = 6  # a viewer would rotate the image
    turned.save(jpeg / "000001.JPEG", exif=exif)
    assert next(FrameFolder(jpeg, DecodeOptions(fps=25.0), sha256="").iterate([0], 1)).frames.shape[
        2:
    ] == (48, 64)


def test_alpha_palette_and_grey_images_become_rgb(copy: Path) -> None:
    for number, mode in ((1, "RGBA"), (2, "L"), (3, "P"), (4, "LA")):
        path = copy / f"{number:06}.png"
        Image.open(path).convert(mode).save(path)
    found = next(FrameFolder(copy, DecodeOptions(fps=25.0), sha256="").iterate([0, 1, 2, 3], 4))
    assert found.frames.shape == (4, 3, 48, 64)


def test_missing_frames_raise_except_in_tolerant_mode(copy: Path) -> None:
    for number in (1, 4, 5, 9, 10):
        (copy / f"{number:06}.png").unlink()
    with pytest.raises(
        ItemError, match=r"5 of them are missing \(000001, 000004, 000005, …\)"
    ) as f:
        FrameFolder(copy, DecodeOptions(fps=25.0), sha256="")
    assert f.value.reason is FailureReason.TRUNCATED_VIDEO
    folder = FrameFolder(copy, DecodeOptions(fps=25.0, tolerant=True), sha256="")
    assert (folder.num_frames, folder.source.is_degraded) == (12, True)
    batches = list(folder.iterate([0, 1, 3, 11], 1))
    assert [int(b.frame_index) for b in batches] == [1, 11]
    with pytest.raises(ItemError, match=r"decode\.fps"):  # the length also covers missing frames
        FrameFolder(copy, DecodeOptions(tolerant=True), sha256="", length_s=2.0)


def test_frame_rate_is_taken_from_file_then_option_then_length(copy: Path) -> None:
    def rate(fps: float | None = None, length_s: float | None = None) -> float:
        options = DecodeOptions(fps=fps)
        return FrameFolder(copy, options, sha256="", length_s=length_s).source.fps

    with pytest.raises(ItemError, match=r"fps\.txt") as failed:
        rate()
    assert failed.value.reason is FailureReason.NO_ANNOTATION
    assert rate(length_s=0.5) == 24
    assert rate(length_s=0.5, fps=30.0) == 30
    before = video_sha256(copy)
    (copy / "fps.txt").write_text("30000/1001\n")
    assert rate(length_s=0.5, fps=30.0) == pytest.approx(29.97, abs=1e-3)
    assert video_sha256(copy) != before
    for text in ("", "fast", "0", "1/0", "nan", "1e99", "-5"):
        (copy / "fps.txt").write_text(text)
        with pytest.raises(ItemError, match=r"fps\.txt: frames per second"):
            rate()


def write(name: str, image: Image.Image) -> Callable[[Path], None]:
    return lambda folder: image.save(folder / name)


def cut(folder: Path) -> None:
    path = folder / "000003.png"
    path.write_bytes(path.read_bytes()[:-30])


def text(folder: Path) -> None:
    (folder / "000003.png").write_text("no picture")


@pytest.mark.parametrize(
    ("damage", "reason", "says"),
    [
        (cut, "corrupt-video", r"000003\.png: cannot read the image"),
        (text, "corrupt-video", r"000003\.png: cannot read the image"),
        (write("000003.png", Image.new("RGB", (32, 48))), "corrupt-video", "64x48 of the first"),
        (
            write("000003.png", Image.fromarray(np.zeros((48, 64), np.uint16))),
            "corrupt-video",
            "8 bits per channel expected",
        ),
        (write("3.png", Image.new("RGB", (64, 48))), "unreadable-video", "both frame 3"),
        (write("3.jpg", Image.new("RGB", (64, 48))), "unreadable-video", "both frame 3"),
        (write("000000.png", Image.new("RGB", (64, 48))), "unreadable-video", "numbered from 1"),
        (write("000003.png", Image.new("L", (9000, 9000))), "too-large", "decode.max_pixels"),
        (write("000003.png", Image.new("1", (20000, 20000))), "too-large", "pixels"),
        (write("999999.png", Image.new("L", (64, 48))), "too-large", "decode.max_frames"),
    ],
)
def test_invalid_dump_raises_with_reason(
    copy: Path, damage: Callable[[Path], None], reason: str, says: str
) -> None:
    damage(copy)
    with pytest.raises(ItemError, match=says) as failed:
        list(FrameFolder(copy, DecodeOptions(fps=25.0), sha256="").iterate(range(12), 4))
    assert failed.value.reason.value == reason


def test_frame_folders_are_listed(frames: Path, tmp_path: Path) -> None:
    for name in ("deep/B.mp4", "C", "odd name.avi", "my.clip", ".hidden"):
        shutil.copytree(frames, tmp_path / name)
    (tmp_path / "empty").mkdir()
    found = [video.video_id for video in list_videos(tmp_path, dumped=True)]
    assert [i for i in found if "-" not in i] == ["B", "C", "my.clip"]
    assert len(found) == 4
    with pytest.raises(UsageError, match=r"decode\.backend=pyav"):
        list_videos(tmp_path / "empty", dumped=True)
    with pytest.raises(UsageError, match=r"decode\.backend=frames"):
        list_videos(frames.parent)


def test_hash_covers_only_names_and_bytes_of_frames(copy: Path) -> None:
    before = video_sha256(copy)
    (copy / "notes.txt").write_text("x")
    assert video_sha256(copy) == before
    (copy / "000012.png").rename(copy / "000013.png")
    assert video_sha256(copy) != before


@pytest.mark.parametrize("words", [["boxes=ground-truth"], []])
def test_cache_of_dumped_frames_equals_cache_of_videos(tmp_path: Path, words: list[str]) -> None:
    videos, annotations = write_dataset(tmp_path)
    dumped = tmp_path / "frames"
    for video in videos.glob("*.mp4"):
        dump(video, dumped / video.name)
    given = ["--annotations", str(annotations), *WORDS, *words]
    assert main(["--videos", str(videos), "--cache", str(tmp_path / "a"), *given]) == 0
    from_frames = ["--videos", str(dumped), "decode.backend=frames", "decode.fps=25", *given]
    assert main([*from_frames, "--cache", str(tmp_path / "b")]) == 0
    for name in ("A0001", "B0002"):
        ours, theirs = (load_clip(tmp_path / c / f"{name}.safetensors") for c in "ab")
        for field, value in vars(theirs).items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(value, getattr(ours, field)), field
        assert theirs.header.source.edit_lists == "dumped"
    (dumped / "A0001.mp4" / "000002.png").unlink()
    assert main([*from_frames, "--cache", str(tmp_path / "b")]) == 1
    row = json.loads((tmp_path / "b" / "failures.jsonl").read_text())
    assert (row["id"], row["reason"]) == ("A0001", "truncated-video")
    assert "000002" in row["message"]


def test_incompatible_settings_raise() -> None:
    with pytest.raises(UsageError, match=r"supported only by decode\.backend=frames"):
        load_config(None, ["decode.fps=25"])
    with pytest.raises(UsageError, match=r"decode\.fps: 0\.01"):
        load_config(None, ["decode.fps=0", "decode.backend=frames"])
    load_config(None, ["decode.backend=frames", "decode.tolerant=true"])


def test_channel_order_is_rgb(copy: Path) -> None:
    colours = np.array([[250, 128, 3]], np.uint8).repeat(48 * 64, 0).reshape(48, 64, 3)
    Image.fromarray(colours).save(copy / "000001.png")
    found = next(FrameFolder(copy, DecodeOptions(fps=25.0), sha256="").iterate([0], 1)).frames
    assert [int(plane.unique()) for plane in found[0]] == [250, 128, 3]


def test_folder_named_like_a_frame_is_not_a_frame(copy: Path) -> None:
    (copy / "000002.png").unlink()
    (copy / "000002.png").mkdir()
    with pytest.raises(ItemError, match=r"1 of them are missing \(000002") as caught:
        FrameFolder(copy, DecodeOptions(fps=25.0), sha256="")
    assert caught.value.reason is FailureReason.TRUNCATED_VIDEO


def test_frames_may_begin_with_rgb_beside_depth_images(copy: Path) -> None:
    plain = [batch.frames for batch in FrameFolder(copy, FPS, sha256="").iterate(range(12), 1)]
    for path in sorted(copy.glob("*.png")):
        path.rename(copy / f"RGB_{int(path.stem)}.png")
        (copy / f"Depth_{int(path.stem)}.png").write_bytes(b"")
    folder = FrameFolder(copy, FPS, sha256="")
    assert folder.num_frames == 12
    found = [batch.frames for batch in folder.iterate(range(12), 1)]
    assert all(torch.equal(*pair) for pair in zip(plain, found, strict=True))
    assert [v.video_id for v in list_videos(copy.parent, dumped=True)] == ["A"]
    (copy / "RGB_07.png").write_bytes(b"")
    with pytest.raises(ItemError, match=r"got RGB_07\.png and RGB_7\.png, both frame 7"):
        FrameFolder(copy, FPS, sha256="")
