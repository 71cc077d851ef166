"""Annotated and predicted scene graphs of the frames of a cached clip."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
import torch
from torch import Tensor

from pipeline.cache.clip import CachedClip
from pipeline.cache.folder import CacheInfo
from pipeline.datasets import FrameAnnotation
from pipeline.errors import UsageError
from pipeline.extraction.relation_prediction import clip_pairs
from relations.pair_batch import PairBatch
from relations.pairs import human_object_pairs
from relations.recall import SceneGraph
from relations.scene_objects import SceneObjects, classify_objects, refine_detections
from relations.settings import ACTION_GENOME
from relations.spatial_masks import spatial_masks
from relations.sttran import STTran

Mode = Enum("Mode", {"predcls": "predcls", "sgcls": "sgcls", "sgdet": "sgdet"})
#: Function that maps the (P,) object classes and the pairs to (P, R) probabilities.
Predict = Callable[[Tensor, PairBatch], Tensor]


@dataclass(frozen=True)
class Scene:
    """Objects and pairs of a clip, without relations.

    Attributes:
        boxes: (M, 4) boxes of the objects, xyxy in pixels of the frame.
        labels: (M,) object classes.
        scores: (M,) probabilities of these classes.
        batch: P pairs of these objects.
        num_lost: number of pairs that are ignored, because the cache contains no union features for
            them. The extraction paired their object with another person box, or the detector
            classified their object as a person.
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor
    batch: PairBatch
    num_lost: int = 0

    @property
    def object_labels(self) -> Tensor:
        """(P,) class of the object of each pair."""
        return self.labels[self.batch.pairs[:, 1]]

    def graphs(self, predicates: Tensor, group_sizes: tuple[int, int, int]) -> list[SceneGraph]:
        """Return one scene graph per frame.

        Args:
            predicates: (P, R) probabilities of the pairs.
            group_sizes: number of predicates in each group.
        """
        objects = (self.boxes.numpy(), self.labels.numpy(), self.scores.double().numpy())
        pairs, values = self.batch.pairs.numpy(), predicates.double().numpy()
        frames = [
            (self.batch.pair_frame == t).numpy() for t in range(len(self.batch.pairs_per_frame))
        ]
        return [SceneGraph(*objects, pairs[mine], values[mine], group_sizes) for mine in frames]


def build_scene(clip: CachedClip, mode: Mode, model: STTran | None = None) -> Scene:
    """Build the objects and pairs of the frames of a clip.

    Args:
        clip: frames to evaluate.
        mode: `predcls` uses the boxes and classes of the clip. `sgcls` uses the boxes of the clip
            and classifies them with the object classifier of the model. `sgdet` applies STTran's
            rules for detected boxes.
        model: relation predictor. Required only by `sgcls`.
    """
    if mode is Mode.predcls:
        return Scene(clip.boxes, clip.labels, torch.ones(len(clip.boxes)), clip_pairs(clip))
    frame = torch.repeat_interleave(torch.arange(clip.num_frames), clip.box_offsets.diff())
    if mode is Mode.sgdet:
        objects = refine_detections(clip.boxes, clip.distribution, frame, clip.num_frames)
    else:
        assert model is not None
        objects = classify_objects(classify(model, clip), frame, clip.num_frames)
    return _scene_of(clip, objects)


def classify(model: STTran, clip: CachedClip) -> Tensor:
    """Return the (N, O + 1) logits of the object classifier, background first."""
    device = next(model.parameters()).device
    given = (clip.box_features, clip.distribution, clip.boxes)
    with torch.inference_mode():
        logits: Tensor = model.object_classifier(*(value.to(device) for value in given))
        return logits.cpu()


def predict_scene(model: STTran, scene: Scene) -> Tensor:
    """Return the (P, R) predicate probabilities of the pairs of a scene."""
    device = next(model.parameters()).device
    with torch.inference_mode():
        predicted: Tensor = model(scene.batch.to(device)).probabilities()
        return predicted.cpu()


def cached_truth(clip: CachedClip, group_sizes: tuple[int, int, int]) -> list[SceneGraph]:
    """Return the annotated relations of a cached clip as one scene graph per frame."""
    scene = build_scene(clip, Mode.predcls)
    return scene.graphs(clip.predicates["ground-truth"], group_sizes)


def annotated_truth(
    frames: Sequence[FrameAnnotation], group_sizes: tuple[int, int, int]
) -> list[SceneGraph]:
    """Convert annotated frames to scene graphs."""
    graphs = []
    for frame in frames:
        pairs = human_object_pairs(frame.labels, torch.ones(len(frame.labels)))
        objects = (frame.boxes.numpy(), frame.labels.numpy(), np.ones(len(frame.labels)))
        known = frame.predicates_of(pairs).double().numpy()
        graphs.append(SceneGraph(*objects, pairs.numpy(), known, group_sizes))
    return graphs


def group_sizes(info: CacheInfo) -> tuple[int, int, int]:
    """Return the number of predicates in each of a cache's three groups.

    Raises:
        UsageError: if R@K is not defined for the cache (`has_recall`).
    """
    if not has_recall(info):
        raise UsageError(
            f"--cache: R@K is defined for the predicate groups {', '.join(ACTION_GENOME)}, but "
            f"this cache has the groups {', '.join(info.predicate_groups)}. tools.train_relations "
            "prints the share of right predicates of each group on the test videos"
        )
    attention, spatial, contacting = (len(names) for names in info.predicate_groups.values())
    return attention, spatial, contacting


def has_recall(info: CacheInfo) -> bool:
    """Return whether the predicate groups are those of Action Genome, as R@K requires."""
    return list(info.predicate_groups) == list(ACTION_GENOME)


def without_small(graph: SceneGraph, min_side: float) -> SceneGraph:
    """Remove pairs whose object has a side shorter than `min_side` pixels from a graph."""
    sides = (graph.boxes[:, 2:] - graph.boxes[:, :2]).min(1)
    kept = sides[graph.pairs[:, 1]] >= min_side
    return replace(graph, pairs=graph.pairs[kept], predicates=graph.predicates[kept])


def _scene_of(clip: CachedClip, objects: SceneObjects) -> Scene:
    """Build the pairs of refined objects and look up their union features by box."""
    pairs = objects.pairs()
    human, object_ = objects.source[pairs[:, 0]], objects.source[pairs[:, 1]]
    known = torch.full((len(clip.boxes),), -1, dtype=torch.int64)
    known[clip.pair_rows[:, 1]] = torch.arange(len(clip.pairs))
    row = known[object_]
    there = row >= 0
    there[there.clone()] = clip.pair_rows[row[there], 0] == human[there]
    pairs, human, object_, row = pairs[there], human[there], object_[there], row[there]
    boxes = clip.boxes[objects.source]
    batch = PairBatch(
        features=clip.box_features[objects.source],
        labels=objects.labels,
        pairs=pairs,
        union_features=clip.union_features[row],
        spatial_masks=spatial_masks(clip.boxes[human], clip.boxes[object_]),
        pairs_per_frame=torch.bincount(objects.frame[pairs[:, 1]], minlength=clip.num_frames),
        frames_per_video=torch.tensor([clip.num_frames]),
    )
    return Scene(boxes, objects.labels, objects.scores, batch, int((~there).sum()))
