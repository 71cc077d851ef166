from pathlib import Path

import pytest

from pipeline.datasets.charades.locate import CLASSES as CLASS_FILE
from pipeline.datasets.charades.locate import TEST
from pipeline.datasets.charades.table import Charades, read_charades
from pipeline.explanation.exports.exported import ExportedVideo
from pipeline.explanation.exports.writing import ExportFormat
from tests.pipeline.explanation.exports.exported_maker import (
    CLASSES,
    export,
    make_video,
    odd_videos,
)


def read(videos: list[ExportedVideo], out: Path) -> Charades:
    folder = export(ExportFormat.CHARADES, videos, out)
    return read_charades(
        {TEST: folder / "charades.csv", CLASS_FILE: folder / "charades_classes.txt"}
    )


def test_reader_of_charades_reads_the_actions(tmp_path: Path) -> None:
    videos = [make_video(0, "A"), make_video(1, "B", windows=3, frames=30)]
    found = read(videos, tmp_path)
    assert not found.errors
    for name, video in zip("AB", videos, strict=True):
        row, explanation = found.videos[name], video.explanation
        assert row.length_s == pytest.approx(explanation.video.duration_s, abs=0.005)
        present = [action for action in explanation.predictions if action.is_present]
        assert [CLASSES.actions[action[0]][0] for action in row.actions] == [
            action.class_id for action in present
        ]
        spans = [explanation.windows[action.window].between_s for action in present]
        for (_, *ends), span in zip(row.actions, spans, strict=True):
            assert ends == pytest.approx(span, abs=0.005)
    assert len({action[1:] for action in found.videos["B"].actions}) == 3


def test_class_file_has_one_line_per_class(tmp_path: Path) -> None:
    names = [(class_id, " ".join(name.split())) for class_id, name in CLASSES.actions]
    assert list(read([], tmp_path).classes) == names


def test_columns_are_those_of_the_release(tmp_path: Path) -> None:
    text = (export(ExportFormat.CHARADES, [], tmp_path) / "charades.csv").read_text("utf-8")
    assert text == (
        "id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length\n"
    )


def test_scores_are_a_submission(tmp_path: Path) -> None:
    videos = [make_video(0, "A"), make_video(1, "B")]
    folder = export(ExportFormat.CHARADES, videos, tmp_path)
    lines = (folder / "charades_scores.txt").read_text("ascii").splitlines()
    found = {line.split()[0]: tuple(map(float, line.split()[1:])) for line in lines}
    assert found == {"A": videos[0].scores, "B": videos[1].scores}


def test_odd_videos_are_read(tmp_path: Path) -> None:
    videos = odd_videos()
    found = read(videos, tmp_path)
    assert not found.errors
    assert found.videos.keys() == {video.explanation.video.id for video in videos}
    assert {name for name, row in found.videos.items() if not row.actions} == {
        "NOACTION", "NOFRAME",
    }  # fmt: skip
