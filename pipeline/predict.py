"""`python -m pipeline.predict`: recognize the actions of new videos and explain them."""

import logging
from collections.abc import Sequence
from pathlib import Path

from pipeline.config.loading import config_as_dict
from pipeline.config.schema import Backend
from pipeline.datasets import Annotations
from pipeline.datasets.coverage import check_coverage
from pipeline.datasets.spans import divide_into_spans
from pipeline.datasets.video_files import Ids, VideoFile, in_order, list_videos, sort_videos
from pipeline.engine.accounts import Accounts, look_around
from pipeline.engine.arguments import add_engine_arguments, apply_engine_arguments, make_engine
from pipeline.engine.tasks import make_tasks
from pipeline.errors import UsageError
from pipeline.explanation.edits import parse_edit
from pipeline.explanation.exports.exported import ClassNames
from pipeline.explanation.exports.saved import saved_videos
from pipeline.explanation.exports.writing import ExportFormat, write_exports
from pipeline.explanation.formats import DEFAULT, Format
from pipeline.explanation.prediction_rows import PredictionRows
from pipeline.explanation.report.gallery import write_gallery
from pipeline.explanation.wording import load_wording
from pipeline.prediction.job import PredictionJob
from pipeline.prediction.steps import PredictionSteps
from pipeline.predictor import WORLD, prepare_prediction
from pipeline.runtime.command_line import (
    Parser,
    common_parser,
    parse_names,
    parse_words,
    run_command,
)
from pipeline.runtime.files import make_folder
from pipeline.runtime.path_lists import expand_lists
from pipeline.runtime.run_record import RunRecord
from pipeline.runtime.writers import Writer

LOGGER = logging.getLogger("predict")
EXAMPLE = (
    "python -m pipeline.predict --run runs/oracle clip.mp4 --out explained "
    "detection.weights=detector.safetensors"
)


def main(argv: list[str]) -> int:
    """Run the stage and return its exit code."""
    args, words = parse_words(_parser(), argv)
    formats = parse_names(args.format.split(","), Format, "--format")
    names = [] if args.export is None else args.export.split(",")
    exports = parse_names(names, ExportFormat, "--export")
    if exports and Format.JSON not in formats:
        raise UsageError("--export: the format json is required; add it to --format")
    paths = expand_lists(args.videos, "videos")
    job, annotations = prepare_prediction(
        args.run, words, args.config, args.annotations, args.person
    )
    shard = apply_engine_arguments(args, job.config)
    cache = job.card.cache
    wording = load_wording(cache.settings.vocabulary)
    edits = tuple(
        parse_edit(text, cache.objects, cache.predicate_groups, wording) for text in args.edit
    )
    is_dumped = job.config.decode.backend is Backend.frames
    videos = find_videos(paths, dumped=is_dumped, ids=Ids(args.ids))
    if annotations is not None:
        num = cache.settings.frames
        videos, annotations = _divide(videos, annotations, args.annotations, num)
    steps = PredictionSteps(job, args.out.absolute(), formats, edits)
    engine = make_engine(args, steps)
    make_folder(args.out, "--out")
    record = RunRecord(
        args.out,
        stage="predict",
        config=config_as_dict(job.config),
        argv=argv,
        seed=int(job.card.training.get("seed", 0)),
        name=shard.run_name,
    )
    with record as run:
        if job.detector.is_random:
            LOGGER.warning("RANDOM_WEIGHTS: the detector is untrained; its boxes are meaningless")
            run.extra["warnings"] = ["RANDOM_WEIGHTS"]
        try:
            look_around(args.out, "predict", is_shared=shard.count > 1)
            with Writer(args.out):
                accounts = Accounts(run, "predict")
                tasks = make_tasks(
                    steps,
                    shard.choose(videos, args.limit),
                    accounts.failures,
                    retry=args.retry_failed,
                    annotations=annotations,
                )
                written = accounts.run(engine, tasks, job.config.max_failures)
                PredictionRows(args.out).settle(written)
            made = _export(job, args.out, exports)
            gallery = write_gallery(args.out)
        except OSError as error:
            raise UsageError(
                f"--out: a writable folder expected, got {args.out}: {error}"
            ) from error
    accounts.report()
    print(f"open: {gallery}")
    for path in made:
        print(f"exported: {path}")
    return run.exit_code


def _parser() -> Parser:
    parser = common_parser("python -m pipeline.predict", __doc__ or "", EXAMPLE)
    add = parser.add_argument
    add(
        "--run",
        type=Path,
        default=WORLD,
        help="run folder of pipeline.train (default: the included network for videos of the "
        "synthetic world)",
    )
    add(
        "videos",
        type=Path,
        nargs="+",
        help="video files, folders of video files, or .txt files with one path per line; URLs are "
        "not fetched",
    )
    add("--out", type=Path, default=Path("explained"), help="output folder (default: explained)")
    add("--config", type=Path, help="YAML file that sets detection.weights")
    add(
        "--annotations",
        type=Path,
        action="append",
        default=[],
        help="annotation folder (repeatable). If a video has annotated spans, each of them "
        "is explained on its own",
    )
    add(
        "--person",
        type=int,
        help="number of the person whose relations are used, as numbered in a previous explanation "
        "(default: the person with the highest score in each frame)",
    )
    add(
        "--format",
        default=",".join(DEFAULT),
        help=f"files of each video, some of {', '.join(Format)} (default: %(default)s)",
    )
    add(
        "--export",
        help=f"also write all explained videos of --out for other tools, to OUT/exports: some of "
        f"{', '.join(ExportFormat)}",
    )
    add(
        "--edit",
        action="append",
        default=[],
        metavar='"START-END OBJECT PREDICATE=>PREDICATE"',
        help="replace a named relation between two times in seconds, and show what the network "
        'predicts then, such as "1.2-3.4 cup holding=>not_contacting" (repeatable)',
    )
    add_engine_arguments(parser)
    return parser


def find_videos(paths: Sequence[Path], *, dumped: bool, ids: Ids = Ids.NAME) -> list[VideoFile]:
    """List videos, sorted by id. A path that is given twice is listed once.

    Args:
        paths: video files, or folders that are searched for videos.
        dumped: whether the videos in those folders are folders of dumped frames.
        ids: source of the ids of the videos in those folders.

    Raises:
        UsageError: if a folder contains no videos.
    """
    files: list[VideoFile] = []
    for path in paths:
        if path.is_dir():
            files += list_videos(path, dumped=dumped, flag="videos", ids=ids)
        else:
            files += sort_videos([path])
    return in_order({file.path.absolute(): file for file in files}.values())


def _divide(
    videos: list[VideoFile], annotations: Annotations, folders: Sequence[Path], num_frames: int
) -> tuple[list[VideoFile], Annotations]:
    """Divide videos into their annotated spans, see `divide_into_spans`.

    Log a warning if no video is annotated.
    """
    try:
        check_coverage([video.video_id for video in videos], annotations, folders)
    except UsageError as problem:
        LOGGER.warning("%s", problem)
    return divide_into_spans(videos, annotations, num_frames)


def _export(job: PredictionJob, out: Path, formats: Sequence[ExportFormat]) -> list[Path]:
    """Write all explained videos of the output folder in the formats of other tools."""
    videos = saved_videos(out, job.generator.model_sha256)
    return write_exports(formats, videos, out, ClassNames(job.card.classes, job.card.cache.objects))


if __name__ == "__main__":
    run_command(main)
