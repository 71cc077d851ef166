import errno
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import av
import jsonschema
import numpy as np
import pytest

from pipeline import LaIARPredictor, evaluate, extract, predict, train
from pipeline.errors import UsageError
from pipeline.weights.run_folder import read_card
from tests.conftest import CONFIG, SMALL, World

SCHEMA = json.loads(Path("configs/schemas/explanation.schema.json").read_text())
jsonschema.Draft202012Validator.check_schema(SCHEMA)


def clips_of(world: World) -> list[str]:
    return [str(path) for path in sorted(world.test_clips)]


def scores_of(out: Path) -> dict[str, list[float]]:
    rows = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    return {row["id"]: row["scores"] for row in rows}


def say(run: Path, out: Path, *words: str) -> int:
    return predict.main(["--run", str(run), "--out", str(out), *words])


def explanations(out: Path) -> Iterator[dict]:
    for path in sorted(out.glob("*/explanation.json")):
        tree = json.loads(path.read_text())
        jsonschema.validate(tree, SCHEMA)
        yield tree


def codes(tree: dict) -> set[str]:
    return {warning["code"] for warning in tree["warnings"]}


def assert_same_scores(out: Path, judged: Path) -> None:
    with np.load(judged / "scores.npz") as file:
        expected = dict(zip(file["ids"].tolist(), file["scores"], strict=True))
    found = scores_of(out)
    assert found.keys() == expected.keys()
    for video_id, scores in found.items():
        np.testing.assert_allclose(scores, expected[video_id], atol=1e-5)


def test_prediction_reduces_union_features_like_the_training_cache(
    world: World, tmp_path: Path
) -> None:
    cache, run, out, judged = (tmp_path / name for name in ("cache", "run", "out", "judged"))
    annotations = ["--annotations", str(world.annotations)]
    small = [*SMALL, "detection.width=16", "decode.workers=0", "union=conv256"]
    data = ["--config", CONFIG, "--videos", str(world.videos), *annotations]
    assert extract.main([*data, "--cache", str(cache), *small]) == 0
    places = ["--cache", str(cache), "--run", str(run)]
    assert train.main(["--config", CONFIG, *places, *small, "train.epochs=1"]) == 0
    assert read_card(run).union_channels == 256
    assert evaluate.main([*places, "--out", str(judged)]) == 0
    assert say(run, out, *clips_of(world), *annotations) == 0
    assert_same_scores(out, judged)
    with pytest.raises(UsageError, match="is fixed by the network"):
        say(run, out, *clips_of(world), "union=full")


def test_list_files_are_predicted_and_urls_are_rejected(
    world: World, run: Path, tmp_path: Path
) -> None:
    clips, listed = clips_of(world), tmp_path / "list.txt"
    listed.write_text("\n".join(clips[:2]) + "\n")
    assert say(run, tmp_path / "a", str(listed), "--format", "json") == 0
    assert say(run, tmp_path / "b", *clips[:2], "--format", "json") == 0
    assert scores_of(tmp_path / "a") == scores_of(tmp_path / "b")
    assert set(scores_of(tmp_path / "a")) == {Path(clip).stem for clip in clips[:2]}
    with pytest.raises(UsageError, match=r"videos: URLs are not fetched: https://a\.org/b\.mp4;"):
        say(run, tmp_path / "c", "https://a.org/b.mp4")
    with pytest.raises(UsageError, match=r"video: URLs are not fetched"):
        LaIARPredictor.from_run(run, "device=cpu", SMALL[2]).predict("https://a.org/b.mp4")


def test_scores_of_annotated_videos_equal_those_of_evaluate(
    world: World, run: Path, tmp_path: Path
) -> None:
    out, judged = tmp_path / "out", tmp_path / "judged"
    annotations = ["--annotations", str(world.annotations)]
    assert say(run, out, *clips_of(world), *annotations, "predict.top=12") == 0
    assert (
        evaluate.main(["--run", str(run), "--cache", str(world.cache), "--out", str(judged)]) == 0
    )
    assert_same_scores(out, judged)
    for tree in explanations(out):
        assert tree["boxes"] == "ground-truth"
        assert "RANDOM_WEIGHTS" in codes(tree)
        assert "DETECTED_BOXES" not in codes(tree)
        kept = {token["id"] for token in tree["tokens"] if token["keep"]}
        assert len(tree["tokens"]) > len(tree["sampling"]["frames"]) // 2
        assert [p["score"] for p in tree["predictions"]] == sorted(
            (p["score"] for p in tree["predictions"]), reverse=True
        )
        for prediction in tree["predictions"]:
            assert {part["token"] for part in prediction["evidence"]} == kept
            assert prediction["is_present"] == (prediction["score"] >= 0.5)
        for token in tree["tokens"]:
            assert token["keep"] == (token["keep_temporal"] and token["keep_spatial"])
            assert token["human"]["class"] == "person"


def test_annotations_of_other_videos_are_a_warning(
    world: World, run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clip = tmp_path / "OTHER.mp4"
    shutil.copy(clips_of(world)[0], clip)
    words = [str(clip), "--annotations", str(world.annotations), "--format", "json"]
    assert say(run, tmp_path / "out", *words) == 0
    assert "annotations of the 1 videos such as OTHER expected" in caplog.text


def test_video_without_annotation_has_detected_boxes_and_a_warning(
    world: World, run: Path, tmp_path: Path
) -> None:
    assert say(run, tmp_path / "out", clips_of(world)[0]) == 0
    (tree,) = explanations(tmp_path / "out")
    assert tree["boxes"] == "detected"
    assert {"RANDOM_WEIGHTS", "DETECTED_BOXES"} <= codes(tree)
    link = f"{tree['video']['id']}/report.html"
    assert (tmp_path / "out" / link).is_file()
    assert f'href="{link}"' in (tmp_path / "out" / "gallery.html").read_text()
    assert json.loads((tmp_path / "out" / "run.json").read_text())["warnings"] == ["RANDOM_WEIGHTS"]


def test_results_of_other_settings_and_stale_results_are_replaced(
    world: World, run: Path, tmp_path: Path
) -> None:
    out, clip = tmp_path / "out", tmp_path / "A1.mp4"
    shutil.copy(clips_of(world)[0], clip)
    assert say(run, out, str(clip), str(clip)) == 0  # one path, given twice
    before = json.loads((out / "A1" / "explanation.json").read_text())
    LaIARPredictor.from_run(run, person=2).predict(clip).save(out)
    with (out / "predictions.jsonl").open("a") as file:
        file.write('{"id": "z", "scores": [NaN]}\n')
    assert say(run, out, str(clip)) == 0
    assert json.loads((out / "run.json").read_text())["counts"]["done"] == 1
    assert json.loads((out / "A1" / "explanation.json").read_text()) == before
    assert len((out / "predictions.jsonl").read_text().splitlines()) == 1
    clip.write_bytes(b"damaged")
    assert say(run, out, str(clip)) == 1
    assert not list((out / "A1").iterdir())
    assert "A1" not in (out / "gallery.html").read_text()
    (out / "gallery.html").unlink()
    (out / "gallery.html").mkdir()
    with pytest.raises(UsageError, match="--out: a writable folder expected"):
        say(run, out, str(clip))


def test_second_run_skips_done_videos_and_broken_videos_fail(
    world: World, run: Path, tmp_path: Path
) -> None:
    out, folder = tmp_path / "out", tmp_path / "clips"
    folder.mkdir()
    good = shutil.copy(clips_of(world)[0], folder)
    (folder / "broken.mp4").write_bytes(Path(good).read_bytes()[:5000])
    missing = str(tmp_path / "absent.mp4")
    for done, skipped in ((1, 0), (0, 1)):
        assert say(run, out, str(folder), missing) == 1
        counts = json.loads((out / "run.json").read_text())["counts"]
        assert counts == {"found": 3, "done": done, "skipped": skipped, "failed": 2}
    reasons = {
        row["id"]: row["reason"]
        for row in map(json.loads, (out / "failures.jsonl").read_text().splitlines())
    }
    assert reasons["absent"] == "missing-video"
    assert reasons["broken"] in ("unreadable-video", "truncated-video", "corrupt-video")
    rows = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert sorted(row["status"] for row in rows) == ["done", "failed", "failed"]
    assert say(run, out, str(folder), "predict.top=1", "max_failures=0") == 3
    assert len(next(iter(explanations(out)))["predictions"]) in (1, 5)


def test_edits_and_formats_of_the_command(world: World, run: Path, tmp_path: Path) -> None:
    out, clip = tmp_path / "out", clips_of(world)[0]
    annotations = ["--annotations", str(world.annotations)]
    assert say(run, out, clip, *annotations, "--format", "json,vtt") == 0
    (tree,) = explanations(out)
    folder = out / tree["video"]["id"]
    assert {path.name for path in folder.iterdir()} == {
        "explanation.json",
        "captions.vtt",
        "entry.json",
    }
    absent = next(o for o in ("broom", "bed") if o not in {t["object"] for t in tree["tracks"]})
    edit = ["--edit", f"0-9 {absent} holding=>touching"]
    assert say(run, out, clip, *annotations, "--format", "json", *edit) == 1
    (failure,) = map(json.loads, (out / "failures.jsonl").read_text().splitlines())
    assert failure["reason"] == "no-such-relation"
    assert tree["tracks"][0]["object"] in failure["message"]
    assert (folder / "explanation.json").is_file()  # the earlier explanation stays
    assert scores_of(out).keys() == {tree["video"]["id"]}
    for wrong, message in (
        (["--edit", "0-9 cup flying=>touching"], "one of the predicates"),
        (["--format", "pdf"], "--format: one of json"),
    ):
        with pytest.raises(UsageError, match=message):
            say(run, out, clip, *wrong)


def test_a_full_disk_loses_only_the_annotated_video(
    world: World, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, clip = tmp_path / "out", clips_of(world)[0]
    words = [clip, "--format", "video,json"]

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.explanation.output.write_video", full)
        assert say(run, out, *words) == 1
    (failure,) = map(json.loads, (out / "failures.jsonl").read_text().splitlines())
    assert failure["reason"] == "disk-full"
    (tree,) = explanations(out)
    folder = out / tree["video"]["id"]
    assert {path.name for path in folder.iterdir()} == {"explanation.json", "entry.json"}
    assert scores_of(out).keys() == {tree["video"]["id"]}
    assert say(run, out, *words) == 1  # unchanged bytes and settings
    assert say(run, out, *words, "--retry-failed") == 0
    assert not (out / "failures.jsonl").read_text()
    with av.open(str(folder / "annotated.mp4")) as container:
        frames = [frame.time for frame in container.decode(video=0)]
    assert len(frames) == tree["video"]["num_frames"]
    assert frames[1] == pytest.approx(1 / tree["video"]["fps"])
    assert say(run, out, *words) == 0
    assert json.loads((out / "run.json").read_text())["counts"]["skipped"] == 1


def test_explained_videos_of_the_network_are_exported(
    world: World, run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out, exports, clips = tmp_path / "out", tmp_path / "out" / "exports", clips_of(world)[:3]
    words = ["--format", "json", "--export", "coco,charades", *clips]
    assert say(run, out, *words) == 0
    lines = (exports / "charades_scores.txt").read_text().splitlines()
    found = {line.split()[0]: [*map(float, line.split()[1:])] for line in lines}
    assert found == scores_of(out)
    assert len(found) == 3
    images = json.loads((exports / "coco.json").read_text())["images"]
    assert {row["video"] for row in images} == found.keys()
    foreign, broken, _ = sorted(found)
    tree = json.loads((out / foreign / "explanation.json").read_text())
    tree["generator"]["model_sha256"] = "0" * 64
    (out / foreign / "explanation.json").write_text(json.dumps(tree))
    (out / broken / "explanation.json").write_text("{")
    assert say(run, out, *words) == 0
    assert len((exports / "charades_scores.txt").read_text().splitlines()) == 1
    assert f"{foreign} is not exported: it was explained by another network" in caplog.text
    assert f"{broken} is not exported" in caplog.text
    for wrong, message in (
        (["--export", "avi"], "--export: one of fiftyone"),
        (["--export", "coco", "--format", "html"], "the format json is required"),
    ):
        with pytest.raises(UsageError, match=message):
            say(run, out, *clips, *wrong)


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("detection.weights=absent.safetensors", "SHA-256 random:0"),
        ("detection.depth=50", "is fixed by the network"),
        ("boxes=detected", "is fixed by the network"),
        ("model.dim=8", "train another"),
        ("predict.tops=3", "did you mean"),
    ],
)
def test_settings_that_contradict_the_run_are_rejected(
    world: World, run: Path, tmp_path: Path, word: str, says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        say(run, tmp_path / "out", clips_of(world)[0], word)
    assert not (tmp_path / "out").exists()


def test_wrong_detector_or_incomplete_run_is_rejected(
    world: World, run: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    card = json.loads((copy / "model.json").read_text())
    card["cache"]["detector"]["weights"] = "0" * 64
    (copy / "model.json").write_text(json.dumps(card))
    with pytest.raises(UsageError, match="the detector weights of the training run expected"):
        say(copy, tmp_path / "out", clips_of(world)[0], "detection.weights=random")
    (copy / "label_bank.safetensors").unlink()
    shutil.copy(run / "model.json", copy)
    with pytest.raises(UsageError, match="label bank not found"):
        say(copy, tmp_path / "out", clips_of(world)[0])
    with pytest.raises(UsageError, match=r"pipeline\.train expected"):
        say(tmp_path, tmp_path / "out", clips_of(world)[0])
    with pytest.raises(UsageError, match="videos"):
        say(run, tmp_path / "out")
