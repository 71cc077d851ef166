"""Encoding of videos as H.264 files with the irregularities of real recordings."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tools.world.labels import Action
from tools.world.render import Frame, Renderer
from tools.world.script import Script

#: Annotated frames per action, as in Action Genome.
FRAMES_PER_ACTION = 5
_DROPPED = 0.2
# Without mbtree=0, 16 runs on the same frames produced 13 different files (libx264 of PyAV 18.1).
_X264 = {"preset": "veryfast", "threads": "1", "g": "250", "x264-params": "mbtree=0"}


def frame_ticks(script: Script) -> list[int]:
    """Return the presentation times of all frames in ascending order.

    The unit is 1 / (numerator of the frame rate) seconds. Frames with a negative time are hidden by
    an edit list.
    """
    film = script.film
    num, den = film.rate
    count = max(int(script.length_s * num / den), 2)
    rng = np.random.default_rng([*script.key, 3])
    shown = np.arange(count)
    if film.timing == "dropped":
        keep = rng.random(count) >= _DROPPED
        keep[[0, -1]] = True
        shown = shown[keep]
    elif film.timing == "halved":
        half = count // 2
        shown = np.concatenate([shown[:half], shown[half::2]])
    hidden = np.arange(-film.hidden, 0)
    return [int(k) * den for k in (*hidden, *shown)]


def annotated_ordinals(script: Script, actions: list[Action]) -> list[int]:
    """Return the ordinals of the visible frames nearest to five moments within every action."""
    num = script.film.rate[0]
    times = np.array(frame_ticks(script)) / num
    first = script.film.hidden
    found = set()
    for action in actions:
        for i in range(FRAMES_PER_ACTION):
            share = (i + 0.5) / FRAMES_PER_ACTION
            moment = action.start_s + share * (action.end_s - action.start_s)
            found.add(first + int(np.abs(times[first:] - moment).argmin()))
    return sorted(found)


def write_video(renderer: Renderer, path: Path, wanted: set[int]) -> dict[int, Frame]:
    """Encode a script as a video file.

    The file is written under a temporary name and renamed when it is complete.

    Args:
        renderer: renderer of the script.
        path: path of the video.
        wanted: ordinals of the frames to return.

    Returns:
        The wanted frames by ordinal, with their boxes.
    """
    script = renderer.script
    num = script.film.rate[0]
    kept: dict[int, Frame] = {}
    temporary = path.with_name(f".{path.stem}.tmp.mp4")
    film = {"crf": str(script.film.crf), "bf": str(script.film.b_frames)}
    with av.open(str(temporary), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(*script.film.rate))
        stream.width, stream.height = script.size
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, num)
        stream.codec_context.time_base = Fraction(1, num)
        stream.options = dict(**_X264, **film)
        for ordinal, tick in enumerate(frame_ticks(script)):
            frame = renderer.frame(tick / num, annotate=ordinal in wanted)
            if ordinal in wanted:
                kept[ordinal] = frame
            picture = av.VideoFrame.from_ndarray(frame.image, format="rgb24")
            picture.pts, picture.time_base = tick, Fraction(1, num)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    temporary.rename(path)
    return kept
