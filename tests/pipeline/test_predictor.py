import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from detection.detections import Detections
from pipeline import Explanation, LaIARPredictor, predict
from pipeline.decoding import FrameRequest
from pipeline.decoding.sampling import window_segments
from pipeline.errors import ItemError, UsageError
from pipeline.extraction.person_choice import PersonChoice
from tests.conftest import World


@pytest.fixture(scope="module")
def predictor(run: Path) -> LaIARPredictor:
    return LaIARPredictor.from_run(run, "device=cpu")


def test_predictor_and_command_write_the_same_explanation(
    world: World, run: Path, predictor: LaIARPredictor, tmp_path: Path
) -> None:
    clips = sorted(world.test_clips)[:2]
    found = predictor.predict(clips)
    for explanation in found:
        explanation.save(tmp_path / "ours")
    words = ["--run", str(run), "--out", str(tmp_path / "theirs"), "device=cpu"]
    assert predict.main([*words, *map(str, clips)]) == 0
    for explanation, clip in zip(found, clips, strict=True):
        name = f"{clip.stem}/explanation.json"
        ours, theirs = ((tmp_path / who / name).read_bytes() for who in ("ours", "theirs"))
        assert ours == theirs
        assert Explanation.from_dict(json.loads(ours)) == explanation
        hostile = json.loads(ours)
        hostile["video"]["id"] = "../../elsewhere"
        with pytest.raises(ValueError, match=r"video: id: a name"):
            Explanation.from_dict(hostile)
        frames = {frame.frame_index for frame in explanation.sampling.frames}
        assert explanation.images.keys() == frames
        assert all(image.startswith(b"\xff\xd8") for image in explanation.images.values())


def test_frames_in_memory_are_explained_like_their_video(
    world: World, predictor: LaIARPredictor
) -> None:
    path = sorted(world.test_clips)[0]
    expected = predictor.predict(path)
    reader = FrameRequest(path, "0" * 64).open()
    frames = next(reader.decode([*range(reader.num_frames)], reader.num_frames)).images
    frames = frames.transpose(0, 2, 3, 1)
    found = predictor.predict(frames, fps=expected.video.fps, video_id="mine")
    assert found.video.id == "mine"
    assert found.tokens == expected.tokens
    again = predictor.predict(frames, fps=np.float32(5), video_id="mine")
    assert again.fingerprint != found.fingerprint
    assert [p.score for p in found.predictions] == [p.score for p in expected.predictions]
    with pytest.raises(ValueError, match="fps"):
        predictor.predict(frames)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="video_id"):
        predictor.predict(frames, fps=25.0, video_id="../mine")
    with pytest.raises(ValueError, match="uint8"):
        predictor.predict(frames.astype(np.float32), fps=25.0)


def test_long_video_is_explained_in_overlapping_windows(world: World, run: Path) -> None:
    clip = sorted(world.test_clips)[0]
    whole = LaIARPredictor.from_run(run, "device=cpu", "predict.window_s=0").predict(clip)
    window_s = whole.video.duration_s / 3
    assert len(whole.windows) == 1
    settings = ("device=cpu", f"predict.window_s={window_s}", "predict.top=200")
    found = LaIARPredictor.from_run(run, *settings).predict(clip)
    size = 16
    assert len(found.windows) == 5
    assert window_segments(whole.video.duration_s, window_s, size) == size + 4 * size // 2
    for before, after in zip(found.windows, found.windows[1:], strict=False):
        assert before.between_s[0] < after.between_s[0] < before.between_s[1]
    assert all(b - a <= window_s for a, b in (window.between_s for window in found.windows))
    for place, prediction in enumerate(found.predictions):
        scores = [window.scores[place] for window in found.windows]
        assert prediction.score == max(scores) == scores[prediction.window]
    assert found.images.keys() == {frame.frame_index for frame in found.sampling.frames}


def test_damage_after_the_first_windows_is_reported(
    world: World, run: Path, tmp_path: Path
) -> None:
    data = bytearray(sorted(world.test_clips)[0].read_bytes())
    start = data.index(b"mdat")
    place = start + (len(data) - start) * 8 // 10
    data[place : place + 400] = bytes(400)
    (tmp_path / "late.mp4").write_bytes(data)
    settings = ("device=cpu", "decode.tolerant=true", "predict.window_s=2")
    explanation = LaIARPredictor.from_run(run, *settings).predict(tmp_path / "late.mp4")
    assert len(explanation.windows) > 1
    assert explanation.video.is_degraded
    assert "DECODE_DEGRADED" in {warning.code for warning in explanation.warnings}


def people(*scores: float) -> Detections:
    """Return people with these scores from left to right, and one cup."""
    N = len(scores) + 1
    return Detections(
        boxes=torch.tensor([[20.0 * i, 0, 20.0 * i + 10, 20] for i in range(N)]),
        labels=torch.tensor([0] * len(scores) + [9]),
        scores=torch.tensor([*scores, 0.5]),
        distribution=torch.full((N, 36), 1 / 36),
        features=torch.eye(8)[:N],
        image_size=(20, 200),
    )


def test_another_person_can_be_chosen() -> None:
    frames = [people(0.9, 0.8), people(0.7, 0.8), people(0.9)]
    best, second, absent = PersonChoice(), PersonChoice(2), PersonChoice(3)
    assert [best.pairs(frame).tolist() for frame in frames] == [[[0, 2]], [[1, 2]], [[0, 1]]]
    assert [second.pairs(frame).tolist() for frame in frames] == [[[1, 2]], [[1, 2]], []]
    assert [len(absent.pairs(frame)) for frame in frames] == [0, 0, 0]
    assert (best.is_absent(), second.is_absent(), absent.is_absent()) == (False, False, True)
    assert best.to_dict() == {
        "chosen": None,
        "people": [{"id": 1, "frames": 3, "read": 2}, {"id": 2, "frames": 2, "read": 1}],
    }
    assert second.to_dict()["chosen"] == 2
    assert best.has_several()


def test_errors_name_what_is_wrong(run: Path, predictor: LaIARPredictor, tmp_path: Path) -> None:
    with pytest.raises(ItemError, match="absent"):
        predictor.predict(tmp_path / "absent.mp4")
    with pytest.raises(UsageError, match="--person: a number of at least 1 expected, got 0"):
        LaIARPredictor.from_run(run, person=0)
    with pytest.raises(ValueError, match="only for an array"):
        predictor.predict("a.mp4", fps=25.0)  # type: ignore[call-overload]
    with pytest.raises(UsageError, match=r"pipeline\.train expected"):
        LaIARPredictor.from_run(tmp_path)


def test_importing_a_package_does_not_import_torch() -> None:
    code = "import sys, pipeline.decoding; assert 'torch' not in sys.modules; pipeline.Explanation"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(ImportError, match="Predictor"):
        from pipeline import Predictor  # noqa: F401
