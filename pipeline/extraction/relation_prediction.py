"""Predicates of a cached clip by the relation predictor; no detector runs."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pipeline.cache.clip import CachedClip
from pipeline.decoding.sampling import uniform_rows
from pipeline.errors import FailureReason, ItemError
from relations.pair_batch import PairBatch
from relations.settings import PredictorSettings
from relations.spatial_masks import spatial_masks
from relations.sttran import STTran

PREDICTED = "predicted"


def clip_pairs(clip: CachedClip) -> PairBatch:
    """The pairs of a clip's frames, all of them, as one video."""
    human, object_ = clip.pair_rows.unbind(1)
    return PairBatch(
        features=clip.box_features,
        labels=clip.labels,
        pairs=clip.pair_rows,
        union_features=clip.union_features,
        spatial_masks=spatial_masks(clip.boxes[human], clip.boxes[object_]),
        pairs_per_frame=clip.pair_offsets.diff(),
        frames_per_video=torch.tensor([clip.num_frames]),
    )


def frame_sequences(clip: CachedClip) -> list[list[int]]:
    """Rows of a clip's frames, as sequences for the predictor's windows of two frames in a row.

    Uniform frames are one sequence, the annotated ones between them another: what is predicted for
    the frames of a video does not depend on whether someone annotated others.
    """
    every = list(range(clip.num_frames))
    header = clip.header
    if header.num_uniform is None:
        return [every]
    uniform = uniform_rows(
        clip.frame_index.tolist(), int(header.source["num_frames"]), header.num_uniform
    )
    rest = sorted(set(every) - set(uniform))
    return [rows for rows in (uniform, rest) if rows]


def predict_relations(
    clip: CachedClip, predictor: STTran, sequences: Sequence[Sequence[int]] | None = None
) -> Tensor:
    """Probabilities of every predicate for every pair.

    Args:
        clip: its labels are taken as they are, annotated or detected.
        predictor: in eval mode, on any device.
        sequences: rows of frames that follow each other, each once; those of `frame_sequences`
            unless given.

    Returns:
        (P, R) float32, attention first; zeros in frames of no sequence.

    Raises:
        ItemError: BAD_CACHE if the clip's features or classes are not those of the predictor,
            INTERNAL_ERROR if a probability is not finite.
    """
    check_features(clip, predictor.settings)
    device = next(predictor.parameters()).device
    result = torch.zeros(len(clip.pairs), predictor.settings.num_predicates)
    frame = clip.pair_frame
    for rows in frame_sequences(clip) if sequences is None else sequences:
        mine = torch.isin(frame, torch.tensor(rows))
        if bool(mine.any()):
            with torch.inference_mode():
                logits = predictor(clip_pairs(clip.select(list(rows))).to(device))
                result[mine] = logits.probabilities().cpu()
    if not bool(torch.isfinite(result).all()):
        raise ItemError(
            FailureReason.INTERNAL_ERROR,
            f"{clip.video_id}: finite probabilities of relations expected, got NaN; check the "
            "clip's features (python -m tools.cache verify) and the predictor's weights",
        )
    return result


def check_features(clip: CachedClip, settings: PredictorSettings) -> None:
    """ItemError BAD_CACHE if a clip's features or classes are not those of a predictor."""
    for name, value, wanted in (
        ("box_features", clip.box_features, settings.feature_width),
        ("union_features", clip.union_features, settings.union_channels),
    ):
        if value.shape[1] != wanted:
            raise ItemError(
                FailureReason.BAD_CACHE,
                f"{clip.video_id}: {name} of {wanted} channels expected, as the predictor takes, "
                f"got {value.shape[1]}; extract again",
            )
    if bool((clip.labels >= settings.num_objects).any()):
        raise ItemError(
            FailureReason.BAD_CACHE,
            f"{clip.video_id}: labels below {settings.num_objects} expected, as the predictor "
            f"knows, got {int(clip.labels.max())}; extract again",
        )


def with_predicted(clip: CachedClip, predictor: STTran, described: dict[str, Any]) -> CachedClip:
    """The clip with predicted predicates beside what it holds already.

    Features pass through float16 first, so that it makes no difference whether a clip comes from
    the detector or from disk.
    """
    predicted = predict_relations(clip.rounded(), predictor)
    return replace(
        clip,
        header=replace(clip.header, predictor=described),
        predicates=clip.predicates | {PREDICTED: predicted},
    )
