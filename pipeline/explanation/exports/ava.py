"""Actions of the person at each whole second, as AVA detections."""

import csv
import math

from pipeline.explanation.exports.exported import (
    ClassNames,
    ExportedVideo,
    FrameBoxes,
    boxes_by_frame,
    relative_box,
)
from pipeline.explanation.exports.files import ExportFiles

_ESCAPES = {"\\": "\\\\", '"': "\\042", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


class AvaExport:
    """Writes `ava.csv`, and `ava_action_list.pbtxt` with the names of the action ids.

    Each row of `ava.csv` is `video_id,second,x1,y1,x2,y2,action_id,score` without a header. The
    action ids are the columns of the classes, from 1.

    Args:
        files: open output files.
        classes: classes of the network.
    """

    def __init__(self, files: ExportFiles, classes: ClassNames) -> None:
        self._rows = csv.writer(files.open("ava.csv"), lineterminator="\n")
        self._numbers = {row[0]: number for number, row in enumerate(classes.actions, 1)}
        names = files.open("ava_action_list.pbtxt")
        for number, (_, name) in enumerate(classes.actions, 1):
            names.write(f'item {{\n  name: "{_escape(name)}"\n  id: {number}\n}}\n')

    def add(self, video: ExportedVideo) -> None:
        """Add a video."""
        explanation = video.explanation
        present = [row for row in explanation.predictions if row.is_present]
        spans = [explanation.windows[row.window].between_s for row in present]
        for second, frame in frames_by_second(boxes_by_frame(explanation)).items():
            for person in frame.persons:
                box = relative_box(person.box, explanation.video)
                for row, (start, end) in zip(present, spans, strict=True):
                    if box is not None and start <= frame.time_s <= end:
                        number = self._numbers[row.class_id]
                        key = explanation.video.id, f"{second:04d}"
                        self._rows.writerow([*key, *box, number, row.score])

    def finish(self) -> None:
        """Do nothing: the files are complete after each video."""


def frames_by_second(frames: list[FrameBoxes]) -> dict[int, FrameBoxes]:
    """Return the nearest frame of each whole second, if it is at most half a second away.

    Of two frames at the same distance, the earlier one is returned.

    Args:
        frames: frames in order of time.
    """
    found: dict[int, FrameBoxes] = {}
    for frame in frames:
        for second in {math.floor(frame.time_s), math.ceil(frame.time_s)}:
            distance = abs(frame.time_s - second)
            known = found.get(second)
            if distance <= 0.5 and (known is None or distance < abs(known.time_s - second)):
                found[second] = frame
    return dict(sorted(found.items()))


def _escape(name: str) -> str:
    """Escape a name for protocol buffer text.

    The official reader of AVA ends a name at the next quotation mark, even at an escaped one.
    Quotation marks are therefore written as an octal number.
    """
    return "".join(
        _ESCAPES.get(c, f"\\{ord(c):03o}" if ord(c) < 32 or ord(c) == 127 else c) for c in name
    )
