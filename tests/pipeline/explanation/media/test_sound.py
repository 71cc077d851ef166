from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from pipeline.decoding import open_video
from pipeline.explanation.media import encoding
from pipeline.explanation.media.video import write_video
from tests.pipeline.explanation.media.scene_maker import (
    make_scene,
    read_back,
    sound_of,
    write_sounding_clip,
)

SCENE = make_scene(num_frames=25)


def loudness(path: Path) -> list[bool]:
    """Return whether each hundredth of a second of the sound is loud, from zero on."""
    with av.open(str(path)) as container:
        loud: list[bool] = []
        frames: Any = container.decode(audio=0)
        for frame in frames:
            samples = frame.to_ndarray().astype(float).reshape(-1)
            at = round(frame.time * 100)
            loud += [False] * (at + 1 - len(loud))
            loud[at] = float(np.abs(samples).max()) > 0.1 * (32768 if samples.max() > 2 else 1)
    return loud


def test_aac_is_copied_without_encoding(tmp_path: Path) -> None:
    source = write_sounding_clip(tmp_path / "clip.mp4")
    found = sound_of(write_video(SCENE, source, tmp_path / "annotated.mp4"))
    wanted = sound_of(source)
    assert [data for _, data in found] == [data for time, data in wanted if time < 1.0]
    assert [time for time, _ in found] == pytest.approx(
        [time for time, _ in wanted if time < 1.0], abs=1e-3
    )


@pytest.mark.parametrize("name", ["clip.mkv", "clip.ts", "clip.mp4"])
@pytest.mark.parametrize("start", [0.0, 0.4])
def test_sound_is_in_sync_with_the_picture(tmp_path: Path, name: str, start: float) -> None:
    source = write_sounding_clip(tmp_path / name, start=start, seconds=0.5)
    path = write_video(SCENE, source, tmp_path / "annotated.mp4")
    assert len(read_back(path)[0]) == 25
    loud = loudness(path)
    first = loud.index(True) / 100
    last = (len(loud) - loud[::-1].index(True)) / 100
    assert first == pytest.approx(start, abs=0.045)
    assert last == pytest.approx(start + 0.5, abs=0.06)


@pytest.mark.parametrize("name", ["clip.ts", "clip.mp4"])
def test_sound_of_dumped_frames_is_in_sync(tmp_path: Path, name: str) -> None:
    source = write_sounding_clip(tmp_path / name, start=0.4, seconds=0.5)
    path = write_video(SCENE, source, tmp_path / "annotated.mp4", numbering="dump")
    times, images = read_back(path)
    tenth = next(i for i, image in enumerate(images) if image[100, 320].mean() > 40 + 5 * 10 - 2.5)
    expected = times[tenth] - 10 / 25 + 0.4
    assert loudness(path).index(True) / 100 == pytest.approx(expected, abs=0.045)


@pytest.mark.parametrize("seconds", [0.3, 3.0])
def test_sound_ends_with_the_picture_or_before(tmp_path: Path, seconds: float) -> None:
    source = write_sounding_clip(tmp_path / "clip.mp4", seconds=seconds)
    path = write_video(SCENE, source, tmp_path / "annotated.mp4")
    assert sound_of(path)[-1][0] == pytest.approx(min(seconds, 1.0), abs=0.05)
    with av.open(str(path)) as container:
        assert container.duration is not None
        assert container.duration / 1e6 == pytest.approx(1.0, abs=0.05)


def test_mp3_of_an_avi_file_is_copied(tmp_path: Path) -> None:
    source = write_sounding_clip(tmp_path / "clip.avi", codec="mp3")
    path = write_video(SCENE, source, tmp_path / "annotated.mp4")
    found, wanted = sound_of(path), sound_of(source)
    end = open_video(source).source.duration_s
    assert [data for _, data in found] == [data for time, data in wanted if time < end]


@pytest.mark.parametrize("start", [0.0, 0.4])
def test_sound_that_the_container_does_not_allow_is_encoded(tmp_path: Path, start: float) -> None:
    source = write_sounding_clip(tmp_path / "clip.mkv", codec="pcm_s16le", start=start, seconds=0.5)
    path = write_video(SCENE, source, tmp_path / "annotated.mp4")
    with av.open(str(path)) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
    loud = loudness(path)
    assert loud.index(True) / 100 == pytest.approx(start, abs=0.045)


@pytest.mark.parametrize("codec", ["mp3", "ac3", "pcm_s16le"])
def test_encoded_sound_is_as_long_as_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: str
) -> None:
    format_ = replace(encoding.H264, sound_codecs=frozenset())
    monkeypatch.setattr(encoding, "H264", format_)
    source = write_sounding_clip(tmp_path / "clip.mkv", codec=codec, seconds=0.8)
    found = sound_of(write_video(SCENE, source, tmp_path / "annotated.mp4"))
    assert found[-1][0] == pytest.approx(0.8, abs=0.06)
    assert np.diff([time for time, _ in found]) == pytest.approx(1024 / 48000, abs=1e-3)


def test_aac_is_encoded_as_opus_for_webm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "H264", replace(encoding.H264, codec="no-such-encoder"))
    source = write_sounding_clip(tmp_path / "clip.mp4", start=0.4, seconds=0.5)
    path = write_video(SCENE, source, tmp_path / "annotated.mp4")
    with av.open(str(path)) as container:
        assert container.streams.audio[0].codec_context.name == "opus"
    assert loudness(path).index(True) / 100 == pytest.approx(0.4, abs=0.045)


def test_damaged_sound_does_not_stop_the_video(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("no sound today")

    monkeypatch.setattr("pipeline.explanation.media.sound.start_of", broken)
    source = write_sounding_clip(tmp_path / "clip.mp4")
    path = write_video(SCENE, source, tmp_path / "annotated.mp4")
    assert len(read_back(path)[0]) == 25
    assert sound_of(path) == []
    assert "no sound today" in caplog.text
