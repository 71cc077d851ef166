"""Tasks with predictions for Label Studio, and the labelling configuration."""

import hashlib
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

from pipeline.explanation.exports.exported import (
    ClassNames,
    ExportedVideo,
    FrameBox,
    FrameBoxes,
    boxes_by_frame,
    relative_box,
)
from pipeline.explanation.exports.files import ExportFiles, JsonList
from pipeline.explanation.observations import Video

#: Characters that XML 1.0 does not allow.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class LabelStudioExport:
    """Writes `labelstudio.json`, a list of tasks, and `labelstudio.xml`, the configuration.

    Label Studio shows frame n, counted from 1, at n / fps seconds. Times are therefore converted to
    frames with the nominal frame rate.

    Args:
        files: open output files.
        classes: classes of the network.
    """

    def __init__(self, files: ExportFiles, classes: ClassNames) -> None:
        files.open("labelstudio.xml").write(_configuration(classes))
        self._file = files.open("labelstudio.json")
        self._tasks = JsonList(self._file)

    def add(self, video: ExportedVideo) -> None:
        """Add a video."""
        explanation = video.explanation
        about, frames = explanation.video, boxes_by_frame(explanation)
        result = [_region(about, frames, "person", [_first_person(frame) for frame in frames])]
        for track in explanation.tracks:
            rows = [
                next((box for box in frame.boxes if box.track == track.id), None)
                for frame in frames
            ]
            result.append(_region(about, frames, f"track {track.id}", rows))
        for row in explanation.predictions:
            if row.is_present:
                ends = [_frame(about, time) for time in explanation.windows[row.window].between_s]
                result.append(
                    {
                        "id": _id(about.id, f"action {row.class_id}"),
                        "from_name": "actions",
                        "to_name": "video",
                        "type": "timelinelabels",
                        "score": row.score,
                        "meta": {"text": [row.sentence]},
                        "value": {
                            "ranges": [{"start": ends[0], "end": ends[1]}],
                            "timelinelabels": [_text(row.name)],
                        },
                    }
                )
        reasons = [row.sentence for row in explanation.predictions]
        prediction = {
            "model_version": f"LaIAR {explanation.generator.model_sha256[:8]}",
            "score": max((row.score for row in explanation.predictions), default=0.0),
            "result": [region for region in result if region is not None],
        }
        self._tasks.add(
            {
                "data": {
                    "id": about.id,
                    "video": _url(video.location),
                    "path": video.location,
                    "fps": about.fps,
                    "reasons": "\n".join(reasons) or "no action",
                },
                "predictions": [prediction],
            }
        )

    def finish(self) -> None:
        """Write the end of the list of tasks."""
        self._tasks.end()
        self._file.write("\n")


def _region(
    video: Video, frames: list[FrameBoxes], name: str, rows: list[FrameBox | None]
) -> dict[str, Any] | None:
    """Return the region of one person or track, or None if it has no box.

    Args:
        video: the video.
        frames: the T sampled frames.
        name: name of the person or track.
        rows: its box in each of the T frames, or None where it has none.
    """
    keyframes: dict[int, dict[str, Any]] = {}
    for t, row in enumerate(rows):
        box = None if row is None else relative_box(row.box, video)
        if box is not None:
            x1, y1, x2, y2 = (100 * value for value in box)
            number, is_last = _frame(video, frames[t].time_s), t + 1 == len(rows)
            # Label Studio interpolates from an enabled keyframe to the next one.
            goes_on = not is_last and rows[t + 1] is not None
            keyframes[number] = {
                "frame": number,
                "time": number / video.fps,
                "enabled": goes_on and bool(frames[t].windows & frames[t + 1].windows),
                "rotation": 0,
                "x": x1,
                "y": y1,
                "width": x2 - x1,
                "height": y2 - y1,
            }
    known = [row for row in rows if row is not None]
    if not keyframes:
        return None
    relations = dict.fromkeys(word for row in known for word in row.relations)
    return {
        "id": _id(video.id, name),
        "from_name": "boxes",
        "to_name": "video",
        "type": "videorectangle",
        "score": max(row.score for row in known),
        "meta": {"text": [", ".join([name, *relations])]},
        "value": {
            "framesCount": max(round(video.duration_s * video.fps), max(keyframes)),
            "duration": video.duration_s,
            "labels": [_text(known[0].class_)],
            "sequence": list(keyframes.values()),
        },
    }


def _first_person(frame: FrameBoxes) -> FrameBox | None:
    return next(iter(frame.persons), None)


def _frame(video: Video, time_s: float) -> int:
    return round(time_s * video.fps) + 1


def _id(video_id: str, name: str) -> str:
    return hashlib.sha256(f"{video_id}/{name}".encode()).hexdigest()[:10]


def _url(location: str) -> str:
    """Return the URL from which Label Studio serves a local file of its machine."""
    path = Path(location)
    inner = path.relative_to(path.anchor).as_posix()
    return "/data/local-files/?d=" + quote(inner.encode("utf-8", "surrogateescape"))


def _text(name: str) -> str:
    return _NOT_XML.sub("\ufffd", name)


def _configuration(classes: ClassNames) -> str:
    view = ElementTree.Element("View")
    add = ElementTree.SubElement
    add(view, "Text", name="reasons", value="$reasons")
    add(view, "Video", name="video", value="$video", framerate="$fps")
    add(view, "VideoRectangle", name="boxes", toName="video")
    labels = add(view, "Labels", name="objects", toName="video", allowEmpty="true")
    timeline = add(view, "TimelineLabels", name="actions", toName="video")
    for parent, names in ((labels, classes.objects), (timeline, [a[1] for a in classes.actions])):
        for name in dict.fromkeys(map(_text, names)):
            add(parent, "Label", value=name)
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"
