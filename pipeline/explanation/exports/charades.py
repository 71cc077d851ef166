"""Actions as a table of Charades, and scores as a submission to its evaluation."""

import csv

from pipeline.datasets.charades.table import COLUMNS
from pipeline.evaluation.submission import submission_line
from pipeline.explanation.exports.exported import ClassNames, ExportedVideo
from pipeline.explanation.exports.files import ExportFiles


class CharadesExport:
    """Writes `charades.csv`, `charades_scores.txt` and `charades_classes.txt`.

    `charades.csv` has the layout of `Charades_v1_test.csv`, `charades_classes.txt` that of
    `Charades_v1_classes.txt`. Each line of `charades_scores.txt` is an id followed by the scores of
    all classes, in the order of `charades_classes.txt`.

    Args:
        files: open output files.
        classes: classes of the network.
    """

    def __init__(self, files: ExportFiles, classes: ClassNames) -> None:
        self._rows = csv.DictWriter(
            files.open("charades.csv"), COLUMNS, restval="", lineterminator="\n"
        )
        self._rows.writeheader()
        self._scores = files.open("charades_scores.txt")
        names = files.open("charades_classes.txt")
        for class_id, name in classes.actions:
            names.write(f"{class_id} {' '.join(name.split())}\n")

    def add(self, video: ExportedVideo) -> None:
        """Add a video."""
        explanation = video.explanation
        about, actions = explanation.video, []
        present = [row for row in explanation.predictions if row.is_present]
        for row in present:
            start, end = explanation.windows[row.window].between_s
            actions.append(f"{row.class_id} {start:.2f} {end:.2f}")
        objects = dict.fromkeys(track.object.replace(";", ",") for track in explanation.tracks)
        self._rows.writerow(
            {
                "id": about.id,
                "verified": "No",
                "script": " ".join(row.sentence for row in present),
                "objects": ";".join(objects),
                "actions": ";".join(actions),
                "length": f"{about.duration_s:.2f}",
            }
        )
        self._scores.write(submission_line(about.id, video.scores))

    def finish(self) -> None:
        """Do nothing: the files are complete after each video."""
