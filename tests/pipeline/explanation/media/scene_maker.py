"""Makers of small explanations and of clips with sound."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from pipeline.explanation.explanation import Explanation
from pipeline.explanation.observations import (
    Box,
    Frame,
    Name,
    People,
    Sampling,
    Token,
    Track,
    Transition,
    Video,
    Window,
)
from pipeline.explanation.predictions import Prediction, Reason
from tests.pipeline.explanation.report.explanation_maker import GENERATOR

Rect = tuple[float, float, float, float]
PERSON: Rect = (8.0, 4.0, 20.0, 40.0)


def name(predicate: str | None, group: str = "contacting", status: str = "confident") -> Name:
    said = () if predicate is None else (predicate,)
    return Name(group, predicate, said, 0.8, 0.2, status, None, None)


def action(
    rank: int = 1,
    *,
    score: float = 0.9,
    between: tuple[float, float] | None = None,
    tokens: tuple[int, ...] = (),
    window: int = 0,
) -> Prediction:
    """Make an action that is present if its score is at least 0.5."""
    kind = "none" if between is None else "lasting"
    thing = None if between is None else "cup"
    reason = Reason(
        kind, thing, None if between is None else 0, "contacting", None, "holding", between,
        tokens, 0.9, 0.1, 0.1, None, (),
    )  # fmt: skip
    sentence = f"Action {rank} ({score:.2f}): the person is holding the cup."
    return Prediction(rank, f"c{rank:03}", f"Action {rank}", score, score, 0.0, score >= 0.5,
                      window, (), (), reason, sentence)  # fmt: skip


def make_scene(
    boxes: Sequence[Mapping[int, Rect]] = (),
    *,
    frames: Sequence[int] | None = None,
    num_frames: int = 40,
    fps: float = 25.0,
    size: tuple[int, int] = (64, 48),
    times: Sequence[float] | None = None,
    discarded: Sequence[tuple[int, int]] = (),
    window_of: Sequence[int] | None = None,
    predictions: Sequence[Prediction] = (),
    transitions: tuple[Transition, ...] = (),
    images: Mapping[int, bytes] | None = None,
) -> Explanation:
    """Make an explanation from the object boxes of each sampled frame by track.

    Args:
        boxes: boxes of the objects of each sampled frame, by track.
        frames: frame indices of the sampled frames. Default: 0, 10, 20...
        num_frames: number of frames of the video.
        fps: frames per second.
        size: width and height of the frames.
        times: times of the sampled frames. Default: frame index / fps.
        discarded: pairs of sampled frame and track that are discarded.
        window_of: window of each sampled frame.
        predictions: the actions.
        transitions: the transitions.
        images: images of the frames.
    """
    frames = [10 * t for t in range(len(boxes))] if frames is None else frames
    times = [index / fps for index in frames] if times is None else times
    window_of = [0] * len(boxes) if window_of is None else window_of
    tokens: list[Token] = []
    for t, row in enumerate(boxes):
        for k, (track, box) in enumerate(row.items()):
            keep = (t, track) not in discarded
            tokens.append(
                Token(len(tokens), t, k, track, times[t], frames[t], Box("person", PERSON, 1.0),
                      Box("cup", box, 1.0), keep, True, True, 0.5, (name("holding"),))
            )  # fmt: skip
    sampled = tuple(
        Frame(t, window_of[t], frames[t], times[t], any(k.keep and k.t == t for k in tokens))
        for t in range(len(boxes))
    )
    spans = [[f.time_s for f in sampled if f.window == w] for w in sorted(set(window_of))]
    tracks = sorted({token.track for token in tokens})
    return Explanation(
        fingerprint="f" * 64,
        generator=GENERATOR,
        video=Video("CLIP", "0" * 64, fps, num_frames, *size, num_frames / fps, 0, "applied",
                    False, False, None),
        vocabulary="action_genome",
        boxes="detected",
        pairs=(),
        people=People(None, ()),
        sampling=Sampling("segment-centres", sampled),
        windows=tuple(
            Window(i, (span[0], span[-1]), (0.9,) * len(predictions))
            for i, span in enumerate(spans or [[0.0, 1.0]])
        ),
        tracks=tuple(
            Track(track, "cup", tuple(k.id for k in tokens if k.track == track)) for track in tracks
        ),
        tokens=tuple(tokens),
        transitions=transitions,
        predictions=tuple(predictions),
        warnings=(),
        images=dict(images or {}),
    )  # fmt: skip


def write_sounding_clip(
    path: Path,
    *,
    num: int = 25,
    rate: int = 25,
    codec: str = "aac",
    seconds: float = 1.0,
    start: float = 0.0,
    size: tuple[int, int] = (64, 48),
) -> Path:
    """Write a video with a tone of some seconds that begins `start` seconds after the picture."""
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=rate)
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        sound: Any = container.add_stream(codec, rate=48000)
        sound.layout = "mono"
        packets: list[Any] = []
        for i in range(num):
            image = np.full((size[1], size[0], 3), 40 + 5 * i, np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, rate)
            packets += video.encode(frame)
        packets += video.encode(None)
        tone = np.sin(np.arange(round(48000 * seconds)) * 0.05).astype(np.float32)[None] / 2
        for first in range(0, tone.shape[1], 960):
            piece = np.ascontiguousarray(tone[:, first : first + 960])
            if codec == "pcm_s16le":
                piece = (piece * 32000).astype(np.int16)
            kind = "s16" if codec == "pcm_s16le" else "fltp"
            audio = av.AudioFrame.from_ndarray(piece, format=kind, layout="mono")
            audio.sample_rate, audio.time_base = 48000, Fraction(1, 48000)
            audio.pts = round(48000 * start) + first
            packets += sound.encode(audio)
        packets += sound.encode(None)
        packets.sort(key=lambda packet: packet.dts * packet.time_base)
        for packet in packets:
            container.mux(packet)
    return path


def read_back(path: Path) -> tuple[list[float], list[np.ndarray]]:
    """Return the times and the RGB images of the frames of a video."""
    with av.open(str(path)) as container:
        frames = [*container.decode(video=0)]
    return [frame.time for frame in frames], [frame.to_ndarray(format="rgb24") for frame in frames]


def sound_of(path: Path) -> list[tuple[float, bytes]]:
    """Return the times and the data of the packets of the sound."""
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return []
        packets: list[Any] = [p for p in container.demux(audio=0) if p.size]
        return [(float(p.pts * p.time_base), bytes(p)) for p in packets]
