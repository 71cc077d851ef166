"""`python -m tools.clip_features`: compute one vector per video with a video network."""

from pathlib import Path

from pipeline.cache.clip_features import open_folder
from pipeline.config.loading import config_as_dict, load_settings
from pipeline.config.schema import Backend
from pipeline.datasets import Annotations, ReadOptions, read_dataset
from pipeline.datasets.coverage import check_coverage
from pipeline.datasets.spans import divide_into_spans
from pipeline.datasets.video_files import Ids, VideoFile, list_videos
from pipeline.datasets.vocabulary import load_vocabulary
from pipeline.engine.accounts import Accounts, look_around
from pipeline.engine.arguments import add_engine_arguments, apply_engine_arguments, make_engine
from pipeline.engine.tasks import item_names, make_tasks
from pipeline.errors import StageError
from pipeline.extraction.clip_features import ClipFeatureConfig, ClipFeatureSteps
from pipeline.runtime.command_line import Parser, common_parser, parse_words, run_command
from pipeline.runtime.run_record import RunRecord
from pipeline.runtime.writers import Writer
from pipeline.weights.video_networks import find_video_network

STAGE = "clip_features"
EXAMPLE = (
    "python -m tools.clip_features --videos Charades_v1_480 --out features/r3d_18 "
    "network=r3d_18 weights=r3d_18-b3b3357e.pth"
)


def main(argv: list[str]) -> int:
    """Run the command and return the exit code."""
    args, words = parse_words(_parser(), argv)
    config = load_settings(ClipFeatureConfig, None, words)
    shard = apply_engine_arguments(args, config)
    videos, annotations = find_samples(config, args.videos, args.annotations, Ids(args.ids))
    steps = ClipFeatureSteps(
        config, args.out.absolute(), find_video_network(config.network, config.weights)
    )
    open_folder(args.out, steps.info)
    engine = make_engine(args, steps)
    look_around(args.out, STAGE, is_shared=shard.count > 1)
    record = RunRecord(
        args.out,
        stage=STAGE,
        config=config_as_dict(config),
        argv=argv,
        seed=0,
        name=shard.run_name,
    )
    try:
        with Writer(args.out), record as run:
            accounts = Accounts(run, STAGE, args.videos)
            accounts.failures.keep_only(item_names(videos, args.videos), videos=args.videos)
            tasks = make_tasks(
                steps,
                shard.choose(videos, args.limit),
                accounts.failures,
                retry=args.retry_failed,
                annotations=annotations,
                folder=args.videos,
            )
            accounts.run(engine, tasks, config.max_failures)
            run.extra["clip_features"] = steps.info.to_dict()
    except OSError as error:
        raise StageError(
            f"{args.out} cannot be written: {error.strerror or error}; free disk space and run the "
            "same command again to resume"
        ) from error
    accounts.report()
    return run.exit_code


def find_samples(
    config: ClipFeatureConfig, videos: Path, folders: list[Path], ids: Ids
) -> tuple[list[VideoFile], Annotations | None]:
    """List the videos, or the annotated spans of the videos, and read their annotations.

    Args:
        config: settings of the command.
        videos: folder of the videos.
        folders: folders of the annotations, possibly none.
        ids: source of the ids of the videos.

    Raises:
        UsageError: if a folder contains no videos, the annotations are invalid, or no video is
            annotated.
    """
    listed = list_videos(videos, dumped=config.decode.backend is Backend.frames, ids=ids)
    if not folders:
        return listed, None
    options = ReadOptions(frames=1)
    vocabulary = load_vocabulary(config.vocabulary)
    read = read_dataset(config.dataset.value, folders, vocabulary, options)
    check_coverage([video.video_id for video in listed], read, folders)
    return divide_into_spans(listed, read, options.frames)


def _parser() -> Parser:
    parser = common_parser("python -m tools.clip_features", __doc__ or "", EXAMPLE)
    add = parser.add_argument
    add("--videos", type=Path, required=True, help="folder of videos")
    add("--out", type=Path, required=True, help="output folder")
    add(
        "--annotations",
        type=Path,
        action="append",
        default=[],
        help="annotation folder (repeatable). If a video has annotated spans, each of them "
        "has a vector of its own",
    )
    add_engine_arguments(parser)
    return parser


if __name__ == "__main__":
    run_command(main)
