"""Clip features of the samples of a network."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from pipeline.cache.clip_features import ClipFeatures
from pipeline.cache.listing import ClipEntry
from pipeline.config.schema import Branch, Config
from pipeline.errors import ItemError, UsageError
from pipeline.weights.model_card import ModelCard

SETTING = "model.clip_features"


def training_features(config: Config) -> ClipFeatures | None:
    """Open the clip features of a training run; None without `model.clip_features`.

    Raises:
        UsageError: if the folder is invalid, or another setting does not support clip features.
    """
    folder = config.model.clip_features
    if folder is None:
        return None
    if config.branch is not Branch.both:
        raise UsageError(f"{SETTING}: branch=both expected, because the video branch reads them")
    if config.model.is_baseline:
        raise UsageError(
            f"{SETTING}: model.network=laiar expected, because the baselines read relations alone"
        )
    if config.train.reversed_share:
        raise UsageError(
            f"{SETTING}: train.reversed_share=0 expected, because the clip feature of a reversed "
            "video is unknown"
        )
    return ClipFeatures.open(Path(folder), SETTING)


def network_features(card: ModelCard, config: Config) -> ClipFeatures | None:
    """Open the clip features that a trained network reads.

    Args:
        card: card of the network.
        config: settings of the command; `model.clip_features` is the folder.

    Returns:
        The features, or None if the network reads none.

    Raises:
        UsageError: if the folder is missing or superfluous, or its vectors have other properties
            than in training.
    """
    folder = config.model.clip_features
    if card.clip_features is None:
        if folder is not None:
            raise UsageError(f"{SETTING}: the network reads no clip features; leave it out")
        return None
    if folder is None:
        raise UsageError(f"{SETTING}: the folder of the clip features expected, got none")
    features = ClipFeatures.open(Path(folder), SETTING)
    difference = card.clip_features.difference(features.info, decoder=False)
    if difference:
        raise UsageError(
            f"{SETTING}: clip features as in training expected, {folder} has others: {difference}"
        )
    return features


def feature_digests(
    features: ClipFeatures, clips: Sequence[ClipEntry]
) -> tuple[list[list[str]], dict[str, ItemError]]:
    """Read the clip feature of each sample.

    Args:
        features: the clip features.
        clips: samples of a cache.

    Returns:
        Pairs [id, SHA-256 of the vector], and a mapping from the id of each sample without a usable
        vector to its error.
    """
    found, bad = [], dict[str, ItemError]()
    for clip in clips:
        try:
            vector = features.read(clip.video_id)
            found.append([clip.video_id, hashlib.sha256(vector.numpy().tobytes()).hexdigest()])
        except ItemError as error:
            bad[clip.video_id] = error
    return found, bad
