"""Inputs of a LaIAR training run, checked before any network is built."""

import difflib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.labels import THRESHOLD, TokenLabels
from pipeline.cache.clip_features import ClipFeatures
from pipeline.cache.folder import CacheInfo
from pipeline.cache.listing import ClipEntry, split_held_out
from pipeline.cache.manifest import read_manifest
from pipeline.cache.reader import ClipReader
from pipeline.config.schema import Branch, Config, Relations
from pipeline.errors import FailureReason, ItemError, StageError, UsageError
from pipeline.evaluation.inverse_pairs import read_inverse_pairs
from pipeline.runtime.files import file_sha256, json_sha256
from pipeline.runtime.run_record import versions
from pipeline.samples.clip_features import feature_digests, training_features
from pipeline.samples.dataset import ClipDataset, clip_dataset
from pipeline.samples.folds import find_fold_of
from pipeline.samples.labels import check_single_label, clip_actions, with_known_labels
from pipeline.samples.listing import list_samples, no_samples
from pipeline.training.laiar.initial_weights import initial_weights
from pipeline.weights.detectors import RANDOM
from pipeline.weights.model_card import ModelCard
from pipeline.weights.run_folder import WEIGHTS


@dataclass(frozen=True)
class TrainingJob:
    """Checked inputs of a training run.

    Attributes:
        config: configuration of the command.
        card: card of the network to train.
        training: clips to train on.
        validation: held-out clips.
        labels: distinct labels of the tokens of the training clips.
        inverse_pairs: columns of the two classes of each inverse pair; empty without
            `train.reversed_share`.
        fingerprint: SHA-256 over everything that determines the weights.
        initial_weights: weights with which the training starts, or None for random weights.
        clip_features: clip features of the samples, or None.
    """

    config: Config
    card: ModelCard
    training: list[ClipEntry]
    validation: list[ClipEntry]
    labels: TokenLabels
    inverse_pairs: list[tuple[int, int]]
    fingerprint: str
    initial_weights: dict[str, Tensor] | None = None
    clip_features: ClipFeatures | None = None

    @property
    def is_random_detector(self) -> bool:
        """Whether the cached features come from an untrained detector."""
        return str(self.card.cache.detector.get("weights")).startswith(RANDOM)

    def dataset(self, clips: list[ClipEntry], *, relations: bool = True) -> ClipDataset:
        """Build a dataset of clips, with the centre frames of the segments.

        Args:
            clips: clips of the cache.
            relations: whether samples have predicates. Without predicates, the frames are the same
                as in `evaluate`.
        """
        return clip_dataset(self.card, clips, relations=relations, clip_features=self.clip_features)

    def training_dataset(self) -> ClipDataset:
        """Build the dataset to train on, with random frames and reversed videos."""
        train = self.config.train
        return clip_dataset(
            self.card,
            self.training,
            seed=train.seed,
            relations=True,
            reversed_share=train.reversed_share,
            inverse_pairs=self.inverse_pairs,
            clip_features=self.clip_features,
            memory_bytes=0 if train.workers else int(train.memory_gb * 1e9),
        )


def training_clips(
    config: Config, cache: Path, info: CacheInfo, *, verify: bool = False
) -> tuple[list[ClipEntry], dict[str, ItemError]]:
    """List the labelled clips of the training split that contain the configured relations.

    Args:
        config: configuration of the training run.
        cache: folder of the cache.
        info: description of the cache.
        verify: whether to compare every byte of the clips with the manifest.

    Returns:
        The usable clips, and a mapping from the video id of each unusable clip to its error.

    Raises:
        UsageError: if no clip is usable, the relations come from several predictors, or the folder
            of `model.clip_features` is invalid.
    """
    fold = find_fold_of(config.fold, config.folds, info)
    clips, bad = list_samples(cache, split="train", fold=fold, info=info, verify=verify)
    source = config.relations.value
    if clips and not any(source in c.relations for c in clips):
        raise UsageError(
            f"--cache: relations={source} expected, but no clip of {cache} has them; "
            + _how_to_add(source)
        )
    good = [clip for clip in clips if source in clip.relations]
    why = f"relations={source} expected, but this clip has none; {_how_to_add(source)}"
    for clip in clips:
        if source not in clip.relations:
            bad[clip.video_id] = ItemError(FailureReason.BAD_CACHE, f"{clip.video_id}: {why}")
    if features := training_features(config):
        bad |= feature_digests(features, good)[1]
        good = [clip for clip in good if clip.video_id not in bad]
    if not good:
        raise no_samples(cache, "train", fold, bad)
    _check_one_predictor(good, source)
    return good, bad


def _how_to_add(source: str) -> str:
    if source == Relations.predicted.value:
        return (
            "add them without a detector: python -m tools.cache add CACHE relations=predicted "
            "relation_predictor.weights=FILE"
        )
    return "extract again and set --annotations to a folder with annotated relations"


def _check_one_predictor(clips: list[ClipEntry], source: str) -> None:
    if source != Relations.predicted.value:
        return
    first = clips[0]
    for clip in clips:
        if clip.header.predictor != first.header.predictor:
            raise UsageError(
                f"--cache: relations of one predictor expected, but {first.video_id} and "
                f"{clip.video_id} have different predictors; run pipeline.extract with "
                "relations=predicted"
            )


def prepare_training(
    config: Config,
    info: CacheInfo,
    clips: list[ClipEntry],
    cache: Path,
    *,
    initial: Path | None = None,
) -> TrainingJob:
    """Determine the splits, the sizes of the network and the fingerprint of a training run.

    Args:
        config: configuration of the training run.
        info: description of the cache.
        clips: usable clips of the training split.
        cache: folder of the cache.
        initial: run folder whose network provides the initial weights, or None.

    Raises:
        UsageError: if a class of the setting `classes` is unknown, if all videos are held out, if
            the cache has no union features, if `loss.multi_label` is False and a video does not
            have exactly one action, if videos cannot be reversed because no class has an inverse,
            or if the initial weights do not fit.
    """
    fraction, multi_label = config.train.validation_fraction, config.loss.multi_label
    columns = chosen_columns(config.classes, info)
    if not multi_label:
        clips = with_known_labels(clips, columns, multi_label=False)
    training, validation = split_held_out(clips, fraction)
    validation = with_known_labels(validation, columns)
    if not training:
        raise UsageError(
            f"train.validation_fraction={fraction} leaves no videos for training; lower it"
        )
    if not multi_label:
        check_single_label(clip_actions(clips), columns)
    settings, features = config.model.resolved(), training_features(config)
    if settings.class_embeddings is None:
        settings = replace(settings, class_embeddings=config.boxes.value == "detected")
    empty = ClipReader(clips[0].path).read([])
    if config.branch is Branch.both and empty.union_features.shape[1] == 0:
        raise UsageError(
            "--cache: union features expected, because Eq. 1 requires them, but the cache was "
            "created with union=none; extract again with union=full or union=conv256"
        )
    t = config.train
    chosen = asdict(t) | {"amp": t.amp.value}
    for name in ("accumulate", "workers", "memory_gb", "threads", "tensorboard"):
        del chosen[name]
    known = {"videos": len(training), "validation_videos": len(validation), "versions": versions()}
    known |= _origin(config, info, clips)
    labels = training_labels(training, config.relations.value, t.min_label_tokens, info)
    reads = settings.reading and config.branch is Branch.both
    card = ModelCard(
        settings=settings,
        cache=replace(info, test_videos=()),
        relations=config.relations.value,
        box_features=empty.box_features.shape[1],
        union_channels=empty.union_features.shape[1],
        num_labels=len(labels) if reads else 0,
        multi_label=multi_label,
        columns=columns,
        branch=config.branch.name,
        longest_s=max(float(clip.header.source.duration_s or 0) for clip in clips),
        clip_features=features.info if features else None,
        training=chosen | known,
    )
    manifest = read_manifest(cache)
    pairs = _inverse_pairs(config, card)
    files = [(c.video_id, manifest[c.source_id].sha256) for c in clips]
    parts = [_determined(card) | {"training": chosen}, asdict(config.loss), files, pairs]
    if features:
        parts.append(feature_digests(features, clips)[0])
    weights = None
    if initial is not None:
        weights = initial_weights(initial, card)
        card.training["initial_weights"] = file_sha256(initial / WEIGHTS)
        parts.append(card.training["initial_weights"])
    card.training["fingerprint"] = fingerprint = json_sha256(parts)
    return TrainingJob(
        config, card, training, validation, labels, pairs, fingerprint, weights, features
    )


def _origin(config: Config, info: CacheInfo, clips: list[ClipEntry]) -> dict[str, Any]:
    """Return what determines the training videos and their relations, for the card."""
    found: dict[str, Any] = {}
    fold = find_fold_of(config.fold, config.folds, info)
    if fold is not None and fold.videos is not None:
        found["fold_sha256"] = fold.sha256
    if config.relations is Relations.predicted:
        found["relation_predictor"] = clips[0].header.predictor
    return found


def _determined(card: ModelCard) -> dict[str, Any]:
    """Return the fields of a card that the fingerprint covers.

    Defaults of fields that earlier versions lack are left out, so that their runs can be resumed.
    """
    tree = card.to_dict()
    del tree["cache"]["test_videos"]
    if tree["columns"] is None:
        del tree["columns"]
    for name, default in (("network", "laiar"), ("shuffle_frames", False)):
        if tree["settings"][name] == default:
            del tree["settings"][name]
    return tree


def chosen_columns(class_ids: list[str], info: CacheInfo) -> tuple[int, ...] | None:
    """Return the indices of the classes to train on, or None for all classes of a cache.

    Args:
        class_ids: ids of the classes (setting `classes`), in any order.
        info: description of the cache.

    Raises:
        UsageError: if the cache has no class with one of the ids, or an id is repeated.
    """
    known = {class_id: index for index, (class_id, _) in enumerate(info.classes)}
    for number, class_id in enumerate(class_ids):
        if class_id not in known:
            near = difflib.get_close_matches(class_id, known, 1) or [*known]
            raise UsageError(
                f"classes: ids of the {len(known)} classes of the cache expected, such as "
                f"{near[0]!r}, got {class_id!r}"
            )
        if class_id in class_ids[:number]:
            raise UsageError(f"classes: each id once expected, got {class_id!r} twice")
    return tuple(sorted(known[class_id] for class_id in class_ids)) or None


def _inverse_pairs(config: Config, card: ModelCard) -> list[tuple[int, int]]:
    """Return the inverse pairs for the labels of reversed training videos."""
    share = config.train.reversed_share
    if not share:
        return []
    pairs = read_inverse_pairs(config.inverse_pairs, [row[0] for row in card.classes])
    if not pairs:
        raise UsageError(
            f"train.reversed_share={share}: inverse pairs among the trained classes expected, "
            f"{config.inverse_pairs} has none; set inverse_pairs, or train.reversed_share=0"
        )
    return pairs


def training_labels(
    clips: list[ClipEntry], source: str, least: int, info: CacheInfo
) -> TokenLabels:
    """Collect the distinct labels of the pairs of clips.

    Args:
        clips: training clips.
        source: relation source.
        least: smallest number of pairs with a label.
        info: description of the cache.

    Raises:
        StageError: if a clip is damaged, or its labels do not fit the cache.
    """
    found = []
    R = sum(map(len, info.predicate_groups.values()))
    for path in dict.fromkeys(clip.path for clip in clips):
        try:
            pairs, predicates = ClipReader(path).labels(source)
        except ItemError as error:
            raise StageError(str(error)) from error
        inside = (pairs >= 0) & (pairs < len(info.objects))
        if predicates.shape != (len(pairs), R) or not bool(inside.all()):
            raise StageError(
                f"{path.stem}: {len(info.objects)} object classes and {R} predicates expected, "
                f"got class {int(pairs.max()) if len(pairs) else 0} and predicates of shape "
                f"{tuple(predicates.shape)}; extract the clip again"
            )
        found.append((pairs, predicates))
    pairs, predicates = (torch.cat(parts) for parts in zip(*found, strict=True))
    return TokenLabels.of_tokens(pairs, predicates >= THRESHOLD, least=least)
