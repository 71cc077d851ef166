"""`python -m tools.train_relations`: train a relation predictor on a cache, without a detector."""

import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from pipeline.cache.folder import CacheInfo, read_cache_info
from pipeline.cache.listing import ClipEntry, list_clips, split_held_out
from pipeline.cache.manifest import read_manifest
from pipeline.cache.reader import ClipReader
from pipeline.cache.union_features import check_full_union
from pipeline.config.loading import config_as_dict, load_settings
from pipeline.errors import UsageError
from pipeline.evaluation.relations.graphs import (
    Mode,
    build_scene,
    cached_truth,
    group_sizes,
    predict_scene,
)
from pipeline.evaluation.relations.scores import Tally
from pipeline.runtime.command_line import (
    EXIT_OK,
    VERIFY_HELP,
    common_parser,
    parse_words,
    run_command,
)
from pipeline.runtime.devices import check_one_process, pick_device
from pipeline.runtime.files import file_sha256, json_sha256
from pipeline.runtime.run_record import RunRecord
from pipeline.runtime.writers import only_command
from pipeline.training.job import check_vocabulary
from pipeline.training.log import LOG_FILE, TrainingLog
from pipeline.training.relations.learner import RelationLearner
from pipeline.training.relations.samples import (
    GROUND_TRUTH,
    RelationClips,
    epoch_batches,
    read_annotated,
)
from pipeline.training.relations.settings import RelationTraining
from pipeline.training.relations.word_vectors import set_class_embeddings
from pipeline.training.state import STATE_FILE, open_run_folder
from pipeline.weights.cards import save_carded
from pipeline.weights.predictor_card import PredictorCard
from relations.recall import recall_table
from relations.settings import PredictorSettings
from relations.sttran import STTran

LOGGER = logging.getLogger("train_relations")
EXAMPLE = (
    "python -m tools.train_relations --config configs/relations/world.yaml "
    "--cache cache/oracle --run runs/relations"
)
WEIGHTS, RUN = "predictor.safetensors", "run.json"


@dataclass(frozen=True)
class RelationTrainingJob:
    """Checked inputs of a training run. No network is built yet.

    Attributes:
        config: settings of the training run.
        settings: sizes of the predictor.
        info: description of the first cache.
        training: clips to train on.
        validation: held-out clips.
        fingerprint: SHA-256 over everything that determines the weights.
    """

    config: RelationTraining
    settings: PredictorSettings
    info: CacheInfo
    training: list[ClipEntry]
    validation: list[ClipEntry]
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
    check_one_process("train_relations")
    device = pick_device(config.device)
    job = prepare_relation_training(config, args.cache, verify=args.verify)
    torch.manual_seed(config.training.seed)
    model = _new_model(job)
    # A run that ended before its first checkpoint contains only these files. It is restarted.
    begun = {RUN, LOG_FILE, "tensorboard"}
    tree, seed = config_as_dict(config), config.training.seed
    record = RunRecord(args.run, stage="train_relations", config=tree, argv=argv, seed=seed)
    with only_command(args.run):
        open_run_folder(args.run, lambda names: STATE_FILE in names or names <= begun)
        with record as run:
            run.counts.found = len(job.training) + len(job.validation)
            learner = train(job, args.run, model.to(device), device)
            run.counts.done = run.counts.found
            run.extra["best_epoch"] = learner.progress.best_epoch
            run.extra["weights_sha256"] = _write(job, args.run, learner)
    print(f"train_relations: {run.counts}; best epoch {learner.progress.best_epoch}")
    print(
        f"evaluate it with: python -m tools.evaluate_relations --weights {args.run / WEIGHTS} "
        f"--cache {args.cache[0]} --mode predcls"
    )
    return EXIT_OK


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
    files: list[list[str]] = []
    for cache, info in zip(caches, infos, strict=True):
        check_full_union(info, f"--cache {cache}")
        check_vocabulary(config.vocabulary, info, cache)
        if info.detector != infos[0].detector:
            raise UsageError(
                f"--cache: features of one detector expected, but {cache} and {caches[0]} were "
                "extracted with different detectors"
            )
        found = _training_clips(cache, verify=verify)
        manifest = read_manifest(cache)
        clips += found
        files += [[c.video_id, str(manifest[c.video_id]["sha256"])] for c in found]
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
    attention, spatial, contacting = group_sizes(infos[0])
    feature_width, union_channels = _widths(clips, attention + spatial + contacting)
    try:
        settings = PredictorSettings(
            num_objects=len(infos[0].objects),
            attention=attention,
            spatial=spatial,
            contacting=contacting,
            feature_width=feature_width,
            union_channels=union_channels,
            **asdict(config.network),
        )
    except ValueError as error:
        raise UsageError(f"network: {error}") from error
    fingerprint = json_sha256([_what_counts(config), asdict(settings), files])
    return RelationTrainingJob(config, settings, infos[0], training, validation, fingerprint)


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
    for name in ("workers", "tensorboard"):
        del tree["training"][name]
    vectors = config.training.word_vectors
    if vectors is not None:
        path = Path(vectors)
        if not path.is_file():
            raise UsageError(f"training.word_vectors: file not found: {path}")
        tree["training"]["word_vectors"] = file_sha256(path)
    del tree["device"]
    return tree


def _training_clips(cache: Path, *, verify: bool) -> list[ClipEntry]:
    """List the clips of the training split that have annotated relations.

    Raises:
        UsageError: if a clip is damaged, or if no clip has annotated relations.
    """
    clips, bad = list_clips(cache, split="train", verify=verify)
    if bad:
        raise UsageError(
            f"--cache: undamaged clips expected, {len(bad)} damaged: {min(bad.items())[1]}"
        )
    listed, clips = clips, [c for c in clips if GROUND_TRUTH in c.relations]
    if not clips:
        raise UsageError(
            f"--cache: annotated relations expected, but the {len(listed)} training clips of "
            f"{cache} have none; extract the videos again with --annotations DIR, a folder with "
            "Action Genome's pickles"
        )
    known = [c for c in clips if bool(ClipReader(c.path).has_relations(GROUND_TRUTH).any())]
    if not known:
        raise UsageError(f"--cache: annotated relations expected, but no pair of {cache} has them")
    return known


def train(
    job: RelationTrainingJob, run: Path, model: STTran, device: torch.device
) -> RelationLearner:
    """Train the remaining epochs, and return the learner after the last epoch."""
    t = job.config.training
    data = RelationClips(job.training)
    learner = RelationLearner(model, t, device, -(-len(data) // t.batch_size))
    if (run / STATE_FILE).is_file():
        learner.load(run, job.fingerprint)
        LOGGER.info("resuming after epoch %d of %d", learner.progress.epoch, t.epochs)
    else:  # this checkpoint marks the folder as the folder of this training run
        learner.save(run, job.fingerprint)
    log = TrainingLog(run, tensorboard=t.tensorboard)
    log.rewind(learner.progress.step, learner.progress.epoch)
    for epoch in range(learner.progress.epoch, t.epochs):
        start = time.time()
        losses = []
        label = f"epoch {epoch + 1}/{t.epochs}"
        with tqdm(total=len(data), desc=label, unit="video", disable=None) as bar:
            for sample in epoch_batches(
                data, t.batch_size, seed=t.seed, epoch=epoch, workers=t.workers
            ):
                step = learner.progress.step
                row = learner.step(sample)
                log.add("step", step=step, epoch=epoch + 1, **row)
                losses.append(row["loss"])
                bar.update(len(sample.video_ids))
        validation = validate(job, learner.model)
        learner.end_epoch(validation["recall_20"])
        loss, seconds = sum(losses) / len(losses), round(time.time() - start, 3)
        step = learner.progress.step
        # The line is written before the checkpoint. If the training run stops in between, resuming
        # it drops the line and writes it again.
        log.add("epoch", epoch=epoch + 1, step=step, loss=loss, seconds=seconds, **validation)
        learner.save(run, job.fingerprint)
        shown = {k: round(v, 4) for k, v in validation.items() if v is not None}
        LOGGER.info("%s: loss %.4f, %s", label, loss, shown or "no validation videos")
    log.close()
    return learner


def validate(job: RelationTrainingJob, model: STTran) -> dict[str, float | None]:
    """Return R@20 (PredCLS, with constraint) and the accuracy by group on the held-out videos."""
    tally, sizes = Tally(), group_sizes(job.info)
    model.eval()
    for entry in job.validation:
        clip = read_annotated(entry)
        scene = build_scene(clip, Mode.predcls)
        tally.add(cached_truth(clip, sizes), scene.graphs(predict_scene(model, scene), sizes))
    if not tally.frames["with"]:
        return {"recall_20": None}
    accuracy = tally.accuracy(job.info.predicate_groups)
    known = {f"accuracy_{name}": share for name, share in accuracy.items()}
    return {"recall_20": recall_table(tally.frames["with"], [20])[20], **known}


def _new_model(job: RelationTrainingJob) -> STTran:
    model = STTran(job.settings)
    path = job.config.training.word_vectors
    if path is not None:
        set_class_embeddings(model, Path(path), job.info.objects)
    return model


def _write(job: RelationTrainingJob, run: Path, learner: RelationLearner) -> str:
    """Write the weights of the best epoch with their card, and return their SHA-256."""
    progress = learner.progress
    card = PredictorCard(
        settings=job.settings,
        objects=job.info.objects,
        predicate_groups=job.info.predicate_groups,
        detector=str(job.info.detector.get("weights")),
        origin="trained by tools.train_relations",
        details={
            "training": _what_counts(job.config)["training"],
            "videos": len(job.training),
            "validation_videos": len(job.validation),
            "best_epoch": progress.best_epoch,
            "validation_recall_20": progress.best_recall if job.validation else None,
        },
    )
    return save_carded(run / WEIGHTS, progress.best, card, half=job.config.training.half)


if __name__ == "__main__":
    run_command(main)
