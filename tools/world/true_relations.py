"""True objects and predicates of tokens, from the scripts of the synthetic world."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import box_iou

from pipeline.cache.clip import CachedClip, ClipSource
from pipeline.decoding.dump_map import dump_to_ordinal
from pipeline.errors import UsageError
from pipeline.samples.clip_tokens import ClipTokens
from tools.world.film import frame_ticks
from tools.world.render import Renderer
from tools.world.rules import Rules
from tools.world.script import Script

#: Smallest IoU between the box of a token and the box of its thread.
LEAST_IOU = 0.5


@dataclass(frozen=True)
class Truth:
    """True objects and predicates of M tokens.

    Attributes:
        threads: (M,) int64 row of each token's object in `Script.threads`, -1 if it is unknown.
        predicates: (M, R) bool true predicates. No predicate is true if the object is unknown.
    """

    threads: Tensor
    predicates: Tensor


def read_scripts(folder: Path, rules: Rules, video_ids: Iterable[str]) -> dict[str, Script]:
    """Read the scripts of videos from `world.json`.

    Args:
        folder: annotation folder of a synthetic world.
        rules: contents of configs/world/.
        video_ids: ids of the videos.

    Raises:
        UsageError: if the file is missing or invalid, a video is not in the file, or a script uses
            an undefined name or has an invalid value.
    """
    path = folder / "world.json"
    if not path.is_file():
        raise UsageError(
            f"--world: world.json not found in {folder}; the folder `annotations` of "
            "tools.synthesize is expected"
        )
    try:
        world = json.loads(path.read_bytes())
        if "format" in world:
            raise UsageError(
                f"{path}: a world in the form of Charades expected, got the form {world['format']}"
            )
        trees = {tree["video_id"]: tree for tree in world["videos"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"{path}: a file of tools.synthesize expected: {error!r}") from error
    wanted = list(video_ids)
    missing = [video_id for video_id in wanted if video_id not in trees]
    if missing:
        raise UsageError(
            f"--world: the world of the cached videos expected, but {path} lacks {len(missing)} of "
            f"{len(wanted)} videos, such as {missing[0]}"
        )
    return {video_id: _script(path, rules, trees[video_id]) for video_id in wanted}


def _script(path: Path, rules: Rules, tree: dict[str, Any]) -> Script:
    try:
        script = Script.from_dict(tree)
        objects = {t.object for t in script.threads} | {p.object for p in script.props}
        states = {name for thread in script.threads for name in thread.states}
        undefined = (objects - {*rules.objects}) | (states - {*rules.states})
        if undefined or {*script.room.decor} - {*rules.decor}:
            raise ValueError(f"undefined objects, states or decor: {sorted(undefined)}")
        for thread in script.threads:
            if len(thread.states) != len(thread.changes) + 1 or thread.unit >= len(script.units):
                raise ValueError(f"{thread.object}: the states do not fit the changes or units")
        _check_ranges(script)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path}: video {tree['video_id']}: invalid script: {error!r}") from error
    return script


def _check_ranges(script: Script) -> None:
    """Raise ValueError for values that would need too much time or memory, or fail in rendering."""
    film = script.film
    for name, value, low, high in (
        ("length_s", script.length_s, 0.1, 3600),
        ("film.rate", film.rate[0] / max(film.rate[1], 1e-9), 1, 240),
        ("film.rate", film.rate[1], 1, 10**6),
        ("film.hidden", film.hidden, 0, 10**4),
        ("size", min(script.size), 8, 8192),
        ("size", max(script.size), 8, 8192),
        *(("threads.hand", thread.hand, 0, 1) for thread in script.threads),
        *(("threads.unit", thread.unit, 0, len(script.units) - 1) for thread in script.threads),
        *(("place", v, -100, 100) for item in script.props for v in item.place),
        *(("look.scale", prop.look.scale, 0.01, 100) for prop in script.props),
        *(("look.scale", thread.look.scale, 0.01, 100) for thread in script.threads),
    ):
        if not low <= value <= high:
            raise ValueError(f"{name}: {low} to {high} expected, got {value}")
    if film.timing not in ("constant", "dropped", "halved"):
        raise ValueError(f"film.timing: constant, dropped or halved expected, got {film.timing!r}")


def frame_times(script: Script, source: ClipSource) -> list[float]:
    """Return the times of the frames of a video in the script, in seconds.

    Times of cached clips differ from the times of the script if the first frame is hidden or frames
    are missing. The times are therefore computed from the numbers of the frames.

    Args:
        script: script of the video.
        source: `ClipHeader.source` of the extracted video.

    Returns:
        One time per frame number (`CachedClip.frame_index`).

    Raises:
        UsageError: if the video has another size or number of frames than the script, or the clip
            was written without a video.
    """
    if source.edit_lists is None or source.fps is None:
        raise UsageError(
            f"--cache: a cache of videos expected, but {script.video_id} was written without pixels"
        )
    num, ticks = script.film.rate[0], frame_ticks(script)
    times = [tick / num for tick in ticks]
    if source.edit_lists == "applied":
        times = times[script.film.hidden :]
    else:  # frames are numbered as in Action Genome's dump, which repeats or drops frames
        shown = dump_to_ordinal([time - times[0] for time in times], 0.0, source.fps)
        times = [times[ordinal] for ordinal in shown]
    found = (len(times), *script.size)
    expected = (source.num_frames, source.width, source.height)
    if found != expected:
        raise UsageError(
            f"--world: the world of the cached videos expected, but the cached video "
            f"{script.video_id} has {expected[0]} frames of {expected[1]}x{expected[2]} pixels and "
            f"its script has {found[0]} frames of {found[1]}x{found[2]} pixels"
        )
    return times


def true_relations(rules: Rules, script: Script, clip: CachedClip, tokens: ClipTokens) -> Truth:
    """Find the object of each token in the script, and the predicates of its state.

    The object of a token is the thread of the same class whose box in this frame has the largest
    IoU with the token's object box, if the IoU is at least `LEAST_IOU`.

    Args:
        rules: contents of configs/world/.
        script: script of the video.
        clip: sampled frames of the video.
        tokens: tokens of the clip.

    Raises:
        UsageError: see `frame_times`.
    """
    vocabulary = rules.vocabulary
    times = frame_times(script, clip.header.source)
    renderer = Renderer(rules, script)
    rows = clip.pair_rows[tokens.pair_row, 1]
    boxes, labels = clip.boxes[rows], clip.labels[rows]
    threads = torch.full((len(rows),), -1)
    predicates = torch.zeros(len(rows), len(vocabulary.predicates), dtype=torch.bool)
    classes = [vocabulary.objects.index(thread.object) for thread in script.threads]
    for frame in sorted({*tokens.frame_row.tolist()}):
        time_s = times[int(clip.frame_index[frame])]
        seen = renderer.thread_boxes(time_s)
        if not seen:
            continue
        here = (tokens.frame_row == frame).nonzero()[:, 0]
        iou = box_iou(boxes[here], torch.tensor([*seen.values()]))
        same = labels[here][:, None] == torch.tensor([classes[row] for row in seen])[None]
        best, place = (iou * same).max(1)
        found = torch.tensor([*seen])[place]
        threads[here] = torch.where(best >= LEAST_IOU, found, -1)
        for token in here[best >= LEAST_IOU].tolist():
            says = rules.states[script.threads[int(threads[token])].state_at(time_s)].says
            predicates[token] = torch.tensor([name in says for name in vocabulary.predicates])
    return Truth(threads, predicates)
