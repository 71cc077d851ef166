"""Inputs of an extraction, checked before any network is built."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.cache.folder import (
    CacheInfo,
    LabelledVideo,
    read_cache_info,
    read_cache_json,
    write_cache_info,
)
from pipeline.cache.union_features import check_union
from pipeline.config.schema import Backend, Boxes, Config, Features, Relations
from pipeline.datasets import Annotations, ReadOptions, read_dataset
from pipeline.datasets.coverage import Coverage, check_coverage
from pipeline.datasets.video_files import Ids, VideoFile, count_ignored, in_order, list_videos
from pipeline.datasets.vocabulary import Vocabulary, load_vocabulary
from pipeline.errors import UsageError
from pipeline.extraction.clip import extraction_settings
from pipeline.extraction.steps import Steps
from pipeline.runtime.devices import pick_devices
from pipeline.runtime.writers import folder_lock
from pipeline.weights.detectors import NO_DETECTOR, ResolvedDetector, resolve_detector
from pipeline.weights.predictors import PredictorFile, check_predictor, find_predictor

LOGGER = logging.getLogger("extract")


@dataclass(frozen=True)
class ExtractionJob:
    """Inputs of an extraction, checked before any network is built.

    Attributes:
        config: configuration of the command.
        videos: videos to extract.
        vocabulary: names of the object classes and predicates.
        annotations: annotations of the dataset, or None.
        detector: description of the detector.
        predictor: relation predictor, or None if `relations` is not `predicted`.
        folder: folder of the videos.
        ids: source of the ids of the videos.
        ignored: number of files of the folder that are not videos, by suffix.
    """

    config: Config
    videos: list[VideoFile]
    vocabulary: Vocabulary
    annotations: Annotations | None
    detector: ResolvedDetector
    predictor: PredictorFile | None = None
    folder: Path = Path()
    ids: Ids = Ids.NAME
    ignored: dict[str, int] = field(default_factory=dict)

    @property
    def info(self) -> CacheInfo:
        """Content of `cache.json` for this extraction."""
        return CacheInfo(
            settings=extraction_settings(self.config, self.vocabulary),
            detector=self.detector.to_dict(),
            objects=self.vocabulary.objects,
            predicate_groups=self.vocabulary.predicate_groups,
            classes=self.annotations.classes if self.annotations else (),
            test_videos=_test_videos(self.annotations) if self.annotations else (),
            folds=self.annotations.folds if self.annotations else {},
        )

    def steps(self, cache: Path, *, verify: bool = False) -> Steps:
        """Return the steps that extract the videos into a cache.

        Args:
            cache: folder of the cache.
            verify: whether to compare every byte of existing clips with the manifest.
        """
        return Steps(
            self.config,
            cache,
            self.detector,
            self.vocabulary,
            self.predictor,
            verify,
        )

    def listed_name(self, video: VideoFile) -> str:
        """Return the name of a video in a list of checksums."""
        if self.ids is Ids.NAME:
            return video.path.name
        return video.path.relative_to(self.folder).as_posix()

    @property
    def coverage(self) -> Coverage | None:
        """Number of videos with annotations, or None without annotations."""
        ids = (video.video_id for video in self.videos)
        return Coverage.of(ids, self.annotations) if self.annotations else None


def prepare_extraction(
    config: Config, videos: Path | None, annotations: list[Path], ids: Ids = Ids.NAME
) -> ExtractionJob:
    """Read the inputs of an extraction and check them without building a network.

    Args:
        config: configuration of the command.
        videos: folder of the videos, or None if `features` is `none`.
        annotations: folders of the annotations, possibly none.
        ids: source of the ids of the videos.

    Raises:
        UsageError: if an input is missing or invalid, or if inputs contradict each other.
    """
    pick_devices(config.device)
    vocabulary = load_vocabulary(config.vocabulary)
    options = ReadOptions(vocabulary.chosen_pairs(config.pairs), config.occluded, config.frames.num)
    if config.features is Features.none:
        if ids is not Ids.NAME:
            raise UsageError(
                f"--ids {ids}: features=none reads no videos; the ids are those of the annotation. "
                "Leave it out"
            )
        return _without_features(config, videos, annotations, vocabulary, options)
    if videos is None:
        raise UsageError("--videos: the folder of the videos expected, got none")
    dumped = config.decode.backend is Backend.frames
    listed = list_videos(videos, dumped=dumped, ids=ids)
    ignored = {} if dumped else count_ignored(videos)
    detector = resolve_detector(config.detection)
    if detector.is_random:
        LOGGER.warning(
            "RANDOM_WEIGHTS: the detector is untrained; boxes and features are meaningless"
        )
    read = None
    if annotations:
        read = read_dataset(config.dataset.value, annotations, vocabulary, options)
    if read is not None:
        check_coverage([video.video_id for video in listed], read, annotations)
    _check_annotated(config, read, annotations)
    check_union(config.union.value, detector.feature_widths)
    predictor = find_relation_predictor(config, vocabulary, detector)
    return ExtractionJob(
        config, listed, vocabulary, read, detector, predictor, videos, ids, ignored
    )


def _without_features(
    config: Config,
    videos: Path | None,
    annotations: list[Path],
    vocabulary: Vocabulary,
    options: ReadOptions,
) -> ExtractionJob:
    """Prepare a cache without features, whose only input is the annotation file of each video."""
    if videos is not None:
        raise UsageError("--videos: features=none reads no videos; leave it out")
    if not annotations:
        raise UsageError("--annotations: features=none reads annotations, but none are given")
    wanted = {"union": "none", "relations": "ground-truth"}
    for name, value in wanted.items():
        if getattr(config, name).value != value:
            raise UsageError(f"features=none: {name}={value} expected")
    if config.decode.fps is None:
        raise UsageError("features=none: the frames per second expected, set decode.fps")
    read = read_dataset(config.dataset.value, annotations, vocabulary, options)
    if not read.files:
        raise UsageError(
            "features=none: a dataset with a file of annotations per video expected, got "
            f"dataset={config.dataset.value}"
        )
    listed = in_order(VideoFile(path, video_id) for video_id, path in read.files.items())
    return ExtractionJob(config, listed, vocabulary, read, NO_DETECTOR, folder=annotations[0])


def _check_annotated(config: Config, read: Annotations | None, annotations: Sequence[Path]) -> None:
    """Raise UsageError if annotated boxes or relations are required and no frame is annotated."""
    if config.boxes is Boxes["ground-truth"]:
        asked = "boxes=ground-truth"
    elif config.relations is Relations["ground-truth"]:
        asked = "relations=ground-truth"
    else:
        return
    if read is None:
        raise UsageError(
            f"{asked}: annotated frames expected below --annotations, which is not set; set it to "
            f"the annotation folder of dataset={config.dataset.value}"
        )
    if not _has_frames(read):
        raise UsageError(
            f"{asked}: annotated frames expected below {', '.join(map(str, annotations))}, found "
            "none; those of Charades are read from object_bbox_and_relationship.pkl and "
            "person_bbox.pkl"
        )


def find_relation_predictor(
    config: Config, vocabulary: Vocabulary, detector: ResolvedDetector
) -> PredictorFile | None:
    """Find the relation predictor and check it against the vocabulary and the detector.

    Returns:
        The predictor, or None if `relations` is not `predicted`.

    Raises:
        UsageError: if the weights are missing or invalid, or if the predictor does not match the
            vocabulary or the detector.
    """
    if config.relations is not Relations.predicted:
        return None
    file = find_predictor(config.relation_predictor)
    check_predictor(
        file.card,
        objects=vocabulary.objects,
        predicate_groups=vocabulary.predicate_groups,
        kinds=vocabulary.pair_groups(vocabulary.chosen_pairs(config.pairs)),
        detector=detector.to_dict(),
        widths=detector.feature_widths,
        where=str(file.path),
    )
    return file


def open_cache(folder: Path, info: CacheInfo) -> None:
    """Create a cache folder, or check that an existing folder has the same settings.

    The test videos in `cache.json` are replaced if the annotations contain others.

    Args:
        folder: folder of the cache.
        info: content of `cache.json`.

    Raises:
        UsageError: if the folder is not writable, or if the settings of its cache differ from
            `info`. The message names the first setting that differs.
    """
    if folder.is_dir() and not os.access(folder, os.W_OK):
        raise UsageError(f"--cache: a writable folder expected, {folder} is read-only")
    check_cache(folder, info)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with folder_lock(folder):
            there = read_cache_info(folder) if (folder / "cache.json").is_file() else None
            if there is None or info.test_videos not in ((), there.test_videos):
                write_cache_info(folder, info)
    except OSError as error:
        raise UsageError(
            f"--cache: a writable folder expected, {folder}: {error.strerror or error}"
        ) from error
    check_cache(folder, info)


def check_cache(folder: Path, info: CacheInfo) -> None:
    """Check that a folder contains no clips, or clips with the same settings.

    Args:
        folder: folder of the cache, which may not exist.
        info: content of `cache.json` for these settings.

    Raises:
        UsageError: if the settings of its cache differ from `info`, or if the folder contains clips
            but no `cache.json`.
    """
    if not (folder / "cache.json").is_file():
        if folder.is_dir() and next(folder.glob("*.safetensors"), None):
            raise UsageError(f"--cache: {folder} has clips but no cache.json; use an empty folder")
        return
    wanted, there = info.to_dict(), read_cache_json(folder)
    for part in ("settings", "detector", "objects", "predicate_groups", "classes", "folds"):
        if wanted.get(part) != there.get(part):
            raise UsageError(_difference(folder, part, wanted.get(part), there.get(part)))


def _test_videos(annotations: Annotations) -> tuple[LabelledVideo, ...]:
    """Return the labelled test samples, also of faulty videos; with folds, those of all folds."""
    folds = bool(annotations.folds)
    rows = [(name, row, bool(row.frames)) for name, row in annotations.videos.items()]
    rows += [(name, row, True) for name, row in annotations.faulty.items()]
    return tuple(
        LabelledVideo(name, actions, has_frames, row.subject if folds else None)
        for _, row, has_frames in sorted(rows, key=lambda found: found[0])
        if row.split == "test" or (folds and row.split is None)
        for name, actions in row.labels().items()
    )


def _has_frames(annotations: Annotations) -> bool:
    return bool(annotations.errors) or any(v.frames for v in annotations.videos.values())


def _difference(folder: Path, part: str, wanted: Any, there: Any) -> str:
    if isinstance(wanted, dict) and isinstance(there, dict):
        keys = [k for k in (wanted | there) if wanted.get(k) != there.get(k)]
        part = f"{part}.{keys[0]}"
        wanted, there = wanted.get(keys[0]), there.get(keys[0])
    return (
        f"--cache: {folder} was created with {part}={_short(there)}, but this command has "
        f"{_short(wanted)}; use another --cache, or the settings of this cache"
    )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
