import os
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.explanation.explanation import Explanation
from pipeline.explanation.exports.exported import ClassNames, ExportedVideo, boxes_by_frame
from pipeline.explanation.exports.writing import ExportFormat, write_exports
from tests.pipeline.explanation.exports.exported_maker import (
    CLASSES,
    make_overlapping,
    make_video,
    odd_videos,
)

NAMES = {
    "fiftyone/metadata.json", "fiftyone/samples.json", "fiftyone/frames.json", "ava.csv",
    "ava_action_list.pbtxt", "charades.csv", "charades_scores.txt", "charades_classes.txt",
    "coco.json", "labelstudio.json", "labelstudio.xml",
}  # fmt: skip


def content(out: Path) -> dict[str, bytes]:
    folder = out / "exports"
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_all_formats_are_written_in_one_pass(tmp_path: Path) -> None:
    alive: list[weakref.ref[ExportedVideo]] = []

    def videos() -> Iterator[ExportedVideo]:
        for number in range(5):
            assert sum(ref() is not None for ref in alive) <= 1
            video = make_video(number, f"V{number}", frames=3)
            alive.append(weakref.ref(video))
            yield video
            del video

    paths = write_exports([*ExportFormat, ExportFormat.COCO], videos(), tmp_path, CLASSES)
    assert {str(path.relative_to(tmp_path / "exports")) for path in paths} == NAMES
    assert content(tmp_path).keys() == NAMES
    assert len(alive) == 5


def test_same_videos_give_same_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        videos = [make_video(), make_overlapping()]
        videos[1] = replace(videos[1], explanation=renamed(videos[1], "TWICE"))
        write_exports(list(ExportFormat), [*videos, *odd_videos()], tmp_path / name, CLASSES)
    assert content(tmp_path / "a") == content(tmp_path / "b")


def renamed(video: ExportedVideo, name: str) -> Explanation:
    return replace(video.explanation, video=replace(video.explanation.video, id=name))


def test_no_format_writes_no_file(tmp_path: Path) -> None:
    assert write_exports([], [make_video()], tmp_path, CLASSES) == []
    assert not list(tmp_path.iterdir())


def test_no_video_gives_complete_files(tmp_path: Path) -> None:
    write_exports(list(ExportFormat), [], tmp_path, CLASSES)
    assert content(tmp_path).keys() == NAMES


def test_failing_video_leaves_earlier_files(tmp_path: Path) -> None:
    write_exports(list(ExportFormat), [make_video()], tmp_path, CLASSES)
    before = content(tmp_path)

    def videos() -> Iterator[ExportedVideo]:
        yield make_video(1, "OTHER")
        raise RuntimeError("damaged")

    with pytest.raises(RuntimeError, match="damaged"):
        write_exports(list(ExportFormat), videos(), tmp_path, CLASSES)
    assert content(tmp_path) == before


def test_full_disk_leaves_earlier_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_exports(list(ExportFormat), [make_video()], tmp_path, CLASSES)
    before, calls = content(tmp_path), []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 4:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="No space left"):
        write_exports(list(ExportFormat), [make_video(1, "OTHER")], tmp_path, CLASSES)
    assert content(tmp_path) == before


def test_leftover_temporary_files_are_removed(tmp_path: Path) -> None:
    write_exports([ExportFormat.FIFTYONE], [], tmp_path, CLASSES)
    before = content(tmp_path)
    for folder in (tmp_path / "exports", tmp_path / "exports/fiftyone"):
        old = folder / ".coco.json.tmp-00000000-1-00000000"
        old.write_text("")
        os.utime(old, (0, 0))
    write_exports([ExportFormat.FIFTYONE], [], tmp_path, CLASSES)
    assert content(tmp_path) == before


@pytest.mark.parametrize(
    ("videos", "classes", "message"),
    [
        ([make_video(), make_video()], CLASSES, "CLIP1: one video per id"),
        ([replace(make_video(), scores=(0.5,))], CLASSES, "CLIP1: 6 scores expected, got 1"),
        (
            [replace(make_video(), scores=(0.5,))],
            ClassNames(CLASSES.actions[:1], CLASSES.objects),
            "CLIP1: an action class of the network expected, got 'c001'",
        ),
        (
            [make_video()],
            ClassNames(CLASSES.actions, CLASSES.objects[1:]),
            "CLIP1: an object class of the network expected, got 'person'",
        ),
    ],
)
def test_videos_of_another_network_are_refused(
    videos: list[ExportedVideo], classes: ClassNames, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        write_exports(list(ExportFormat), videos, tmp_path, classes)
    assert not content(tmp_path)


def test_shared_frames_of_windows_are_merged() -> None:
    video = make_overlapping()
    frames = boxes_by_frame(video.explanation)
    assert [frame.frame_index for frame in frames] == [10 * place for place in range(9)]
    shared = [frame for frame in frames if len(frame.windows) == 2]
    assert [frame.frame_index for frame in shared] == [30, 40, 50]
    for frame in shared:
        person, thing = frame.boxes
        assert (person.class_, person.track, person.is_kept) == ("person", None, True)
        # The kept token is that of the second window.
        token = next(
            token
            for token in video.explanation.tokens
            if token.frame_index == frame.frame_index and token.keep
        )
        assert (thing.track, thing.is_kept) == (token.track, True)
        assert thing.relations == tuple(n.predicate for n in token.names if n.predicate)
