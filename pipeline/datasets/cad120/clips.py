"""Reader of the list of clips with their actions."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.datasets.cad120.files import read_lines
from pipeline.datasets.ids import is_safe_id
from pipeline.errors import UsageError

_FORM = "'subject, activity, video id, first frame, last frame, action'"
_NUMBER = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True)
class ClipLine:
    """Span of frames of a video, with one action.

    Attributes:
        subject: id of the filmed person.
        activity: name of the activity of the video.
        video_id: id of the video.
        first: 0-based index of the first frame.
        last: 0-based index of the last frame, which belongs to the span.
        action: index of the action.
    """

    subject: str
    activity: str
    video_id: str
    first: int
    last: int
    action: int

    @property
    def num_frames(self) -> int:
        """Number of frames of the span."""
        return self.last - self.first + 1


@dataclass(frozen=True)
class ClipLines:
    """Content of `video_clips.txt`.

    Attributes:
        lines: spans in the order of the file.
        errors: mapping from video id to the reason why its lines cannot be used.
    """

    lines: tuple[ClipLine, ...] = ()
    errors: dict[str, str] = field(default_factory=dict)


def read_clips(path: Path, actions: Sequence[str]) -> ClipLines:
    """Read the file `video_clips.txt`.

    Each line is `subject, activity, video id, first frame, last frame, action`. Frames are numbered
    from 1 in the file. Spans may overlap. Blank lines are ignored.

    Args:
        path: path of the file.
        actions: names of the actions.

    Returns:
        The spans of all videos whose lines are valid. A line with a valid video id and another
        fault is listed in `errors`, as is a span that occurs twice and a second subject or activity
        of a video.

    Raises:
        UsageError: if a line does not contain a subject, an activity and a video id that are safe
            (`is_safe_id`), or the file is missing, empty or not a text file.
    """
    lines: dict[tuple[str, int, int], ClipLine] = {}
    names: dict[str, list[str]] = {}
    errors: dict[str, str] = {}
    for number, text in read_lines(path):
        fields = [part.strip() for part in text.split(",")]
        if len(fields) < 3 or not all(map(is_safe_id, fields[:3])):
            raise UsageError(f"{path}:{number}: {_FORM} expected, got {text[:120]!r}")
        video_id = fields[2]
        try:
            line = _line(fields, text, actions)
            if names.setdefault(video_id, fields[:2]) != fields[:2]:
                raise ValueError(
                    f"the subject and activity {', '.join(names[video_id])} expected as in the "
                    f"first line of the video, got {', '.join(fields[:2])}"
                )
            if (video_id, line.first, line.last) in lines:
                raise ValueError(f"each span only once expected, got {text[:120]!r} again")
        except ValueError as error:
            errors.setdefault(video_id, f"{path.name}:{number}: {error}")
            continue
        lines[video_id, line.first, line.last] = line
    return ClipLines(tuple(x for x in lines.values() if x.video_id not in errors), errors)


def _line(fields: list[str], text: str, actions: Sequence[str]) -> ClipLine:
    if len(fields) != 6:
        raise ValueError(f"{_FORM} expected, got {text[:120]!r}")
    if not all(_NUMBER.fullmatch(part) for part in fields[3:5]):
        raise ValueError(f"numbers of the first and last frame expected, got {text[:120]!r}")
    first, last = int(fields[3]), int(fields[4])
    if not 1 <= first <= last:
        raise ValueError(
            f"frames numbered from 1, the first one not after the last one, expected, got {first} "
            f"and {last}"
        )
    if fields[5] not in actions:
        raise ValueError(
            f"an action of action_list.txt expected, got {fields[5][:80]!r}; the actions are "
            f"{', '.join(actions)}"
        )
    subject, activity, video_id = fields[:3]
    return ClipLine(subject, activity, video_id, first - 1, last - 1, actions.index(fields[5]))
