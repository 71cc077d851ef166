"""`python -m tools.train_relations`: train a relation predictor on a cache, without a detector."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from pipeline.cache.folder import CacheInfo, read_cache_info
from pipeline.cache.listing import ClipEntry, split_held_out
from pipeline.cache.manifest import read_manifest
from pipeline.cache.reader import ClipReader
from pipeline.cache.union_features import check_full_union
from pipeline.config.loading import config_as_dict, load_settings
from pipeline.config.schema import RelationPredictorConfig
from pipeline.datasets.vocabulary import load_vocabulary
from pipeline.errors import UsageError
from pipeline.evaluation.relations.graphs import has_recall
from pipeline.runtime.command_line import (
    EXIT_OK,
    VERIFY_HELP,
    common_parser,
    parse_words,
    run_command,
)
from pipeline.runtime.files import file_sha256, json_sha256
from pipeline.runtime.run_record import RunRecord
from pipeline.samples.folds import Fold, find_fold
from pipeline.samples.listing import list_split
from pipeline.training.laiar.cache_check import check_vocabulary
from pipeline.training.log import LOG_FILE
from pipeline.training.processes import Processes, join_processes, training_run
from pipeline.training.relations.samples import GROUND_TRUTH
from pipeline.training.relations.settings import RelationTraining
from pipeline.training.relations.task import RelationClipSplits, RelationTask, measure_accuracy
from pipeline.training.relations.word_vectors import set_class_embeddings
from pipeline.training.state import STATE_FILE, open_run_folder
from pipeline.training.trainer import Progress, Trainer
from pipeline.weights.cards import save_carded
from pipeline.weights.predictor_card import PredictorCard
from pipeline.weights.predictors import find_predictor, load_predictor
from relations.settings import PredictorSettings
from relations.sttran import STTran

LOGGER = logging.getLogger("train_relations")
EXAMPLE = (
    "python -m tools.train_relations --config configs/relations/world.yaml "
    "--cache cache/oracle --run runs/relations"
)
WEIGHTS = "predictor.safetensors"
#: Files of a run that ended before its first checkpoint. It is restarted.
_BEGUN = {"run.json", LOG_FILE, "tensorboard"}


@dataclass(frozen=True)
class RelationTrainingJob:
    """Checked inputs of a training run. No network is built yet.

    Attributes:
        config: settings of the training run.
        settings: sizes of the predictor.
        clips: clips to train on and held-out clips.
        fingerprint: SHA-256 over everything that determines the weights.
    """

    config: RelationTraining
    settings: PredictorSettings
    clips: RelationClipSplits
    fingerprint: str


def main(argv: list[str]) -> int:
    """Run the command and return the exit code."""
    parser = common_parser("python -m tools.train_relations", __doc__ or "", EXAMPLE)
    parser.add_argument("--config", type=Path, default=Path("configs/relations/sttran.yaml"))
    parser.add_argument(
        "--cache",
        type=Path,
        required=True,
        action="append",
        help="folder written by pipeline.extract; can be repeated to combine several caches",
    )
    parser.add_argument("--run", type=Path, required=True, help="output folder")
    parser.add_argument("--verify", action="store_true", help=VERIFY_HELP)
    args, words = parse_words(parser, argv)
    config = load_settings(RelationTraining, args.config, words)
    with join_processes(config.device) as processes:
        job = prepare_relation_training(config, args.cache, verify=args.verify)
        tree, seed = config_as_dict(config), config.training.seed
        record = RunRecord(args.run, stage="train_relations", config=tree, argv=argv, seed=seed)
        record.counts.found = len(job.clips.training) + len(job.clips.validation)
        with training_run(processes, record, lambda: open_run_folder(args.run, _is_mine)):
            progress = _train(job, args.run, processes)
            record.counts.done = record.counts.found
            record.extra["best_epoch"] = progress.best_epoch
            if processes.is_first:
                record.extra["weights_sha256"] = _write(job, args.run, progress)
                if job.clips.test:
                    record.extra["test_accuracy"] = _test_accuracy(job, args.run, processes)
    if processes.is_first:
        print(f"train_relations: {record.counts}; best epoch {progress.best_epoch}")
        for group, share in record.extra.get("test_accuracy", {}).items():
            shown = "no annotated pairs" if share is None else f"{100 * share:.1f} % of the pairs"
            print(f"right predicates on the test subjects, {group}: {shown}")
        if has_recall(job.clips.info):
            print(
                "evaluate it with: python -m tools.evaluate_relations --weights "
                f"{args.run / WEIGHTS} --cache {args.cache[0]} --mode predcls"
            )
    return EXIT_OK


def _is_mine(names: set[str]) -> bool:
    """Return whether the files of a run folder belong to this command."""
    return STATE_FILE in names or names <= _BEGUN


def prepare_relation_training(
    config: RelationTraining, caches: Sequence[Path], *, verify: bool = False
) -> RelationTrainingJob:
    """Collect the annotated training clips, and determine the sizes of the network.

    Args:
        config: settings of the training run.
        caches: folders of the caches.
        verify: if True, every byte is compared with the manifests.

    Raises:
        UsageError: if the caches do not fit each other or the vocabulary, if a clip is damaged, or
            if no annotated clip is left for training.
    """
    infos = [read_cache_info(cache) for cache in caches]
    clips: list[ClipEntry] = []
    test: list[ClipEntry] = []
    files: list[list[str]] = []
    for cache, info in zip(caches, infos, strict=True):
        check_full_union(info, f"--cache {cache}")
        check_vocabulary(config.vocabulary, info, cache)
        if info.detector != infos[0].detector:
            raise UsageError(
                f"--cache: features of one detector expected, but {cache} and {caches[0]} were "
                "extracted with different detectors"
            )
        fold = find_fold(config.fold, info.folds)
        found = _training_clips(cache, info, fold, verify=verify)
        if fold is not None:
            listed = _undamaged(cache, info, fold, split="test", verify=verify)
            test += [c for c in listed if GROUND_TRUTH in c.relations]
        manifest = read_manifest(cache)
        clips += found
        files += [[c.video_id, manifest[c.video_id].sha256] for c in found]
    _check_distinct(files)
    fraction = config.training.validation_fraction
    training, held_out = split_held_out(clips, fraction)
    # Annotated boxes are preferred, because most pairs of detected boxes have unknown relations.
    given = [c for c in held_out if c.header.feature_source == "box"]
    validation = given or held_out
    if not training:
        raise UsageError(
            f"training.validation_fraction={fraction}: all {len(clips)} videos are held out, and "
            "none is left for training; use a smaller fraction"
        )
    settings = _settings(config, infos, clips)
    fingerprint = json_sha256([_what_counts(config), asdict(settings), files])
    splits = RelationClipSplits(infos[0], training, validation, test)
    return RelationTrainingJob(config, settings, splits, fingerprint)


def _settings(
    config: RelationTraining, infos: Sequence[CacheInfo], clips: Sequence[ClipEntry]
) -> PredictorSettings:
    """Return the sizes of the network for the vocabulary and the features of the caches.

    Raises:
        UsageError: if a size is invalid, or if the clips have different sizes.
        ItemError: BAD_CACHE if a clip is damaged.
    """
    vocabulary = load_vocabulary(config.vocabulary)
    used = {name for info in infos for name in info.settings.pairs or ()}
    feature_width, union_channels = _widths(clips, len(vocabulary.predicates))
    try:
        return PredictorSettings(
            num_objects=len(vocabulary.objects),
            groups=vocabulary.group_sizes,
            exclusive=vocabulary.exclusive,
            kinds=vocabulary.pair_groups([name for name in vocabulary.pairs if name in used]),
            feature_width=feature_width,
            union_channels=union_channels,
            **asdict(config.network),
        )
    except ValueError as error:
        raise UsageError(f"network: {error}") from error


def _widths(clips: Sequence[ClipEntry], num_predicates: int) -> tuple[int, int]:
    """Return the channel counts of the box features and the union features.

    Raises:
        UsageError: if the channels differ between clips, or if the number of predicates of a clip
            is not `num_predicates`.
        ItemError: BAD_CACHE if a clip is damaged.
    """
    wanted = None
    for entry in clips:
        empty = ClipReader(entry.path).read([])
        arrays = (empty.box_features, empty.union_features, empty.predicates[GROUND_TRUTH])
        found = tuple(value.shape[1] for value in arrays)
        wanted = wanted or (*found[:2], num_predicates)
        if found != wanted:
            raise UsageError(
                "--cache: box features, union features and predicates of widths "
                f"{wanted} expected, but {entry.path} has widths {found}; extract it again"
            )
    assert wanted is not None
    return wanted[0], wanted[1]


def _check_distinct(files: Sequence[Sequence[str]]) -> None:
    """Check that no clip occurs twice.

    Raises:
        UsageError: if two caches contain the same clip, or if a cache is listed twice.
    """
    twice = [video_id for (video_id, _), n in Counter(map(tuple, files)).items() if n > 1]
    if twice:
        raise UsageError(
            f"--cache: different clips expected, but {len(twice)} clips occur twice (first: "
            f"{twice[0]}); omit one of the folders"
        )


def _what_counts(config: RelationTraining) -> dict[str, Any]:
    """Return the settings that determine the weights.

    The path of the word vectors is replaced by the SHA-256 of the file.

    Raises:
        UsageError: if the file of the word vectors does not exist.
    """
    tree = config_as_dict(config)
    for name in ("accumulate", "workers", "tensorboard"):
        del tree["training"][name]
    vectors = config.training.word_vectors
    if vectors is not None:
        path = Path(vectors)
        if not path.is_file():
            raise UsageError(f"training.word_vectors: file not found: {path}")
        tree["training"]["word_vectors"] = file_sha256(path)
    del tree["device"]
    return tree


def _undamaged(
    cache: Path, info: CacheInfo, fold: Fold | None, *, split: str, verify: bool
) -> list[ClipEntry]:
    """List the clips of a split.

    Raises:
        UsageError: if a clip is damaged.
    """
    clips, bad = list_split(cache, split=split, fold=fold, info=info, verify=verify)
    if bad:
        raise UsageError(
            f"--cache: undamaged clips expected, {len(bad)} damaged: {min(bad.items())[1]}"
        )
    return clips


def _training_clips(
    cache: Path, info: CacheInfo, fold: Fold | None, *, verify: bool
) -> list[ClipEntry]:
    """List the clips of the training split that have annotated relations.

    Raises:
        UsageError: if a clip is damaged, or if no clip has annotated relations.
    """
    clips = _undamaged(cache, info, fold, split="train", verify=verify)
    listed, clips = clips, [c for c in clips if GROUND_TRUTH in c.relations]
    if not clips:
        raise UsageError(
            f"--cache: annotated relations expected, but the {len(listed)} training clips of "
            f"{cache} have none; extract the videos again with --annotations DIR, a folder with "
            "annotated frames, such as Action Genome's pickles"
        )
    known = [c for c in clips if bool(ClipReader(c.path).has_relations(GROUND_TRUTH).any())]
    if not known:
        raise UsageError(f"--cache: annotated relations expected, but no pair of {cache} has them")
    return known


def _train(job: RelationTrainingJob, run: Path, processes: Processes) -> Progress:
    t = job.config.training
    torch.manual_seed(t.seed)
    model = _new_model(job).to(processes.device)
    task = RelationTask(model, job.clips, t, processes.device)
    trainer = Trainer(task, t, run, job.fingerprint, processes)
    trainer.open()
    return trainer.run()


def _new_model(job: RelationTrainingJob) -> STTran:
    model = STTran(job.settings)
    path = job.config.training.word_vectors
    if path is not None:
        set_class_embeddings(model, Path(path), job.clips.info.objects)
    return model


def _write(job: RelationTrainingJob, run: Path, progress: Progress) -> str:
    """Write the weights of the best epoch with their card, and return their SHA-256."""
    clips = job.clips
    metric = "validation_recall_20" if has_recall(clips.info) else "validation_accuracy"
    fold = {} if job.config.fold is None else {"fold": job.config.fold}
    card = PredictorCard(
        settings=job.settings,
        objects=clips.info.objects,
        predicate_groups=clips.info.predicate_groups,
        detector=str(clips.info.detector.get("weights")),
        origin="trained by tools.train_relations",
        details={
            "training": _what_counts(job.config)["training"],
            "videos": len(clips.training),
            "validation_videos": len(clips.validation),
            "best_epoch": progress.best_epoch,
            metric: progress.best_value,
            **fold,
        },
    )
    return save_carded(run / WEIGHTS, progress.best, card, half=job.config.training.half)


def _test_accuracy(
    job: RelationTrainingJob, run: Path, processes: Processes
) -> dict[str, float | None]:
    """Measure the written predictor on the clips of the test subjects."""
    file = find_predictor(RelationPredictorConfig(weights=str(run / WEIGHTS)))
    return measure_accuracy(load_predictor(file, processes.device), job.clips.test)


if __name__ == "__main__":
    run_command(main)
