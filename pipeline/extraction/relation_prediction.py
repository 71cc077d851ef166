"""Relation prediction on cached clips, without running the detector."""

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
    """Return the pairs of all frames of a clip as a batch of one video."""
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
    """Divide the frames of a clip into sequences for the predictor's windows of two frames.

    The uniform frames form one sequence, and the other annotated frames form another. Predictions
    for uniform frames therefore do not depend on the annotation.

    Returns:
        Frame rows of each sequence, increasing.
    """
    every = list(range(clip.num_frames))
    header = clip.header
    if header.num_uniform is None:
        return [every]
    uniform = uniform_rows(clip.frame_index.tolist(), header.source.num_frames, header.num_uniform)
    rest = sorted(set(every) - set(uniform))
    return [rows for rows in (uniform, rest) if rows]


def predict_relations(
    clip: CachedClip, predictor: STTran, sequences: Sequence[Sequence[int]] | None = None
) -> Tensor:
    """Predict the probability of every predicate for every pair.

    Args:
        clip: clip with annotated or detected boxes. Its labels are used unchanged.
        predictor: predictor in eval mode, on any device.
        sequences: frame rows of each sequence of consecutive frames, without duplicates. Default:
            `frame_sequences`.

    Returns:
        (P, R) float32 probabilities in index order. The probabilities of pairs in frames outside
        all sequences are zeros, as are those of groups that a pair does not have.

    Raises:
        ItemError: BAD_CACHE if the features or classes of the clip do not match the predictor.
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
            f"{clip.video_id}: finite probabilities of predicates expected, got NaN; check the "
            "features of the clip (python -m tools.cache verify) and the weights of the predictor",
        )
    return result


def check_features(clip: CachedClip, settings: PredictorSettings) -> None:
    """Check that the features and classes of a clip match a predictor.

    Args:
        clip: the clip.
        settings: settings of the predictor.

    Raises:
        ItemError: BAD_CACHE if the features or classes do not match.
    """
    for name, value, wanted in (
        ("box_features", clip.box_features, settings.feature_width),
        ("union_features", clip.union_features, settings.union_channels),
    ):
        if value.shape[1] != wanted:
            raise ItemError(
                FailureReason.BAD_CACHE,
                f"{clip.video_id}: {name} of {wanted} channels expected by the predictor, "
                f"got {value.shape[1]}; extract it again",
            )
    if bool((clip.labels >= settings.num_objects).any()):
        raise ItemError(
            FailureReason.BAD_CACHE,
            f"{clip.video_id}: labels below {settings.num_objects} expected by the predictor, "
            f"got {int(clip.labels.max())}; extract it again",
        )


def with_predicted(clip: CachedClip, predictor: STTran, described: dict[str, Any]) -> CachedClip:
    """Add predicted predicates to a clip.

    The features are first rounded to float16, so that the predictions for a new clip and for a
    stored clip are the same.

    Args:
        clip: the clip. Its other predicates are kept.
        predictor: predictor in eval mode, on any device.
        described: `PredictorFile.to_dict` of the predictor.

    Raises:
        ItemError: see `predict_relations`.
    """
    predicted = predict_relations(clip.rounded(), predictor)
    return replace(
        clip,
        header=replace(clip.header, predictor=described),
        predicates=clip.predicates | {PREDICTED: predicted},
    )
