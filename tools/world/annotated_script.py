"""Annotations of a script, without its pixels."""

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from detection.detections import Detections
from pipeline.cache.clip import CachedClip, ClipHeader, ClipSource
from pipeline.cache.folder import CacheInfo, ExtractionSettings
from relations.graph import RelationGraph
from tools.world.film import annotated_ordinals, frame_ticks
from tools.world.labels import Action, find_actions
from tools.world.rules import Rules
from tools.world.script import Script

#: Detector of caches without pixels.
NO_DETECTOR = {"weights": "none"}


@dataclass(frozen=True)
class AnnotatedScript:
    """Annotations of a video at the frames that a release annotates.

    Attributes:
        script: script of the video.
        actions: actions in the video.
        times_s: times of the annotated frames in seconds.
        frames: per annotated frame, the predicates of each thread of the script.
    """

    script: Script
    actions: list[Action]
    times_s: list[float]
    frames: list[list[frozenset[str]]]

    @property
    def classes(self) -> set[str]:
        """Ids of the action classes in the video."""
        return {action.id for action in self.actions}

    @property
    def objects(self) -> list[str]:
        """Object class of each thread."""
        return [thread.object for thread in self.script.threads]


def annotate(rules: Rules, script: Script) -> AnnotatedScript:
    """Annotate a script at the frames that a release annotates."""
    actions = find_actions(rules, script)
    ticks = frame_ticks(script)
    times = [ticks[o] / script.film.rate[0] for o in annotated_ordinals(script, actions)]
    frames = [[rules.states[t.state_at(time)].says for t in script.threads] for time in times]
    return AnnotatedScript(script, actions, times, frames)


def shuffled(video: AnnotatedScript, seed: list[int]) -> AnnotatedScript:
    """Return a video with its annotated frames in random order; their times stay in order."""
    order = np.random.default_rng(seed).permutation(len(video.frames))
    return replace(video, frames=[video.frames[i] for i in order])


def bag(video: AnnotatedScript, keep: np.ndarray | None = None) -> dict[str, float]:
    """Return the share of frames in which a token shows each (object, predicate).

    Args:
        video: annotations of the video.
        keep: (frames, threads) bool, tokens that are read; if None, all.
    """
    counts: Counter[str] = Counter()
    for name, states in _states(video, keep):
        counts.update(f"{name} {predicate}" for says in states for predicate in says)
    return {key: n / len(video.frames) for key, n in counts.items()}


def changes(
    video: AnnotatedScript, keep: np.ndarray | None = None, *, reverse: bool = False
) -> dict[str, float]:
    """Count how often one predicate of an object replaces another from token to token.

    Args:
        video: annotations of the video.
        keep: (frames, threads) bool, tokens that are read; if None, all.
        reverse: if True, count in the reversed video.
    """
    found: Counter[str] = Counter()
    for name, states in _states(video, keep):
        for old, new in itertools.pairwise(states[::-1] if reverse else states):
            gone, come = old - new, new - old
            found.update(f"{name} {a} > {b}" for a in (*gone, "") for b in (*come, "") if a or b)
    return {key: float(n) for key, n in found.items()}


def _states(
    video: AnnotatedScript, keep: np.ndarray | None
) -> Iterator[tuple[str, list[frozenset[str]]]]:
    """Yield the object and the predicates of each thread in the frames that are kept."""
    for k, name in enumerate(video.objects):
        frames = enumerate(video.frames)
        yield name, [frame[k] for t, frame in frames if keep is None or keep[t, k]]


def cache_info(rules: Rules) -> CacheInfo:
    """Return the description of a cache of scripts."""
    return CacheInfo(
        ExtractionSettings("ground-truth", union="none"),
        NO_DETECTOR,
        rules.vocabulary.objects,
        rules.vocabulary.predicate_groups,
        tuple((action.id, action.name) for action in rules.actions),
    )


def to_clip(rules: Rules, video: AnnotatedScript) -> CachedClip:
    """Convert annotations to a clip with boxes, labels and relations but without features.

    The person and each thread have a fixed box of their own, so that boxes of one object overlap
    and others do not. Box features and union features have width 0.
    """
    script, vocabulary = video.script, rules.vocabulary
    N, P, T = len(script.threads) + 1, len(script.threads), len(video.frames)
    labels = torch.tensor([vocabulary.objects.index(n) for n in ("person", *video.objects)])
    corner = torch.arange(N, dtype=torch.float32)[:, None] * torch.tensor([10.0, 0.0])
    detections = Detections(
        boxes=torch.cat([corner, corner + 8], 1),
        labels=labels,
        scores=torch.ones(N),
        distribution=torch.eye(len(vocabulary.objects))[labels],
        features=torch.zeros(N, 0),
        image_size=(8, 10 * N),
    )
    graphs = []
    for frame in video.frames:
        said = [[float(p in says) for p in vocabulary.predicates] for says in frame]
        graphs.append(
            RelationGraph(
                pairs=torch.stack([torch.zeros(P), torch.arange(1, N)], 1).long(),
                union_boxes=torch.zeros(P, 4),
                union_features=torch.zeros(P, 0, 7, 7),
                predicates=torch.tensor(said).view(P, len(vocabulary.predicates)),
                source="ground-truth",
            )
        )
    columns = rules.action_ids
    header = ClipHeader(
        video_id=script.video_id,
        fingerprint="0" * 64,
        source=ClipSource(T, duration_s=script.length_s),
        detector=NO_DETECTOR,
        boxes="ground-truth",
        feature_source="box",
        split=script.split,
        subject=script.actor.id,
        scene=script.scene,
        length_s=script.length_s,
        actions=tuple((columns.index(a.id), a.start_s, a.end_s) for a in video.actions),
    )
    times = torch.tensor(video.times_s, dtype=torch.float64)
    return CachedClip.of_frames(header, torch.arange(T), times, [detections] * T, graphs)
