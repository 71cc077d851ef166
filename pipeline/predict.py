"""`python -m pipeline.predict`: recognize the actions of new videos and explain them."""

import json
import logging
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipeline.config.loading import config_as_dict
from pipeline.config.schema import Backend
from pipeline.datasets.coverage import check_coverage
from pipeline.datasets.video_files import Ids, VideoFile, in_order, list_videos, sort_videos
from pipeline.decoding import DecodePool, num_workers
from pipeline.errors import FailureReason, ItemError, UsageError
from pipeline.explanation.edits import Edit, edited_fingerprint, parse_edit
from pipeline.explanation.explanation import Explanation
from pipeline.explanation.exports.exported import ClassNames
from pipeline.explanation.exports.saved import saved_videos
from pipeline.explanation.exports.writing import ExportFormat, write_exports
from pipeline.explanation.formats import DEFAULT, FILES, Format
from pipeline.explanation.output import is_saved, remove, save
from pipeline.explanation.report.gallery import write_gallery
from pipeline.predictor import WORLD, LaIARPredictor
from pipeline.runtime.command_line import (
    Parser,
    common_parser,
    parse_names,
    parse_words,
    run_command,
)
from pipeline.runtime.failures import Failures, log_failure
from pipeline.runtime.files import append_line, make_folder, read_rows, write_atomically
from pipeline.runtime.item_errors import as_item_error
from pipeline.runtime.path_lists import expand_lists
from pipeline.runtime.run_record import RunRecord
from pipeline.runtime.writers import folder_lock

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
    predictor = LaIARPredictor.from_run(
        args.run, *words, config=args.config, annotations=args.annotations, person=args.person
    )
    explainer = predictor.explainer
    config, decode = explainer.config, explainer.config.decode
    cache = explainer.card.cache
    edits = [parse_edit(text, cache.objects, cache.predicate_groups) for text in args.edit]
    videos = find_videos(paths, dumped=decode.backend is Backend.frames, ids=Ids(args.ids))
    if predictor.annotations is not None:
        try:
            names = [video.video_id for video in videos]
            check_coverage(names, predictor.annotations, args.annotations)
        except UsageError as problem:
            LOGGER.warning("%s", problem)
    make_folder(args.out, "--out")
    seed = int(explainer.card.training.get("seed", 0))
    record = RunRecord(
        args.out, stage="predict", config=config_as_dict(config), argv=argv, seed=seed
    )
    with record as run:
        if explainer.detector.is_random:
            LOGGER.warning("RANDOM_WEIGHTS: the detector is untrained; its boxes are meaningless")
            run.extra["warnings"] = ["RANDOM_WEIGHTS"]
        run.counts.found = len(videos)
        workers = min(num_workers(decode.workers), 1)
        try:
            with DecodePool(workers, int(decode.memory_gb * 1e9)) as pool:
                prediction = Prediction(predictor, args.out, run, pool, formats, edits)
                prediction.run(videos)
            made = prediction.export(exports)
            gallery = write_gallery(args.out)
        except OSError as error:
            raise UsageError(
                f"--out: a writable folder expected, got {args.out}: {error}"
            ) from error
    print(f"predict: {run.counts}")
    print(f"open: {gallery}")
    for path in made:
        print(f"exported: {path}")
    if run.counts.failed:
        print(f"failures: {args.out / 'failures.jsonl'}")
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
        help="annotation folder (repeatable)",
    )
    add(
        "--ids",
        choices=[*Ids],
        default=Ids.NAME,
        help="make the ids of the videos in a folder from their file names, or from their paths "
        "relative to the folder (default: %(default)s)",
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


class Prediction:
    """Prediction of several videos.

    A video is skipped if its explanation exists and has the same fingerprint. A video that fails
    is recorded in `failures.jsonl`, and its earlier explanation is removed. Several commands may
    write to one folder.

    Args:
        predictor: trained network.
        out: output folder.
        run: record of the run; its counts are updated.
        pool: pool of processes that decode the videos.
        formats: formats of the explanations.
        edits: edits of each video.
    """

    def __init__(
        self,
        predictor: LaIARPredictor,
        out: Path,
        run: RunRecord,
        pool: DecodePool,
        formats: Sequence[Format] = DEFAULT,
        edits: Sequence[Edit] = (),
    ) -> None:
        self.predictor, self.out = predictor, out
        self.formats, self.edits = formats, edits
        self.run_record, self._pool = run, pool
        self.failures = Failures(out)
        self._path = out / "predictions.jsonl"
        self._rows = read_rows(self._path)
        self._explained = set[str]()

    def run(self, videos: list[VideoFile]) -> None:
        """Predict the videos.

        The prediction stops after more than `max_failures` failures.
        """
        counts, seen = self.run_record.counts, set[str]()
        for video in tqdm(videos, desc="predict", unit="video", disable=None):
            item = video.video_id
            try:
                with as_item_error(item):
                    if item in seen:
                        item = f"{item} ({video.path})"
                        raise ItemError(
                            FailureReason.DUPLICATE_ID,
                            f"{item}: one file per id expected; rename it, or use --ids path",
                        )
                    seen.add(item)
                    outcome = self._one(video)
                self.failures.remove(item)
            except ItemError as error:
                log_failure(LOGGER, item, error)
                self.failures.add(item, error, stage="predict")
                # A file that cannot be written, or an edit that does not fit, leaves the others.
                is_edit = error.reason is FailureReason.NO_SUCH_RELATION
                if item not in self._explained and not is_edit:
                    if item == video.video_id:
                        remove(self.out / item)
                    self._add({"id": item, "status": "failed", "reason": error.reason.value})
                outcome = "failed"
            setattr(counts, outcome, getattr(counts, outcome) + 1)
            budget = self.predictor.explainer.config.max_failures
            if budget is not None and counts.failed > budget:
                LOGGER.error("stopped: %d failures, at most %d allowed", counts.failed, budget)
                break
        with folder_lock(self.out):
            rows = read_rows(self._path).values()
            lines = [json.dumps(row) + "\n" for row in rows]
            write_atomically(self._path, "".join(lines).encode())

    def export(self, formats: Sequence[ExportFormat]) -> list[Path]:
        """Write all explained videos of the output folder in the formats of other tools."""
        explainer = self.predictor.explainer
        sha256, card = explainer.generator["model_sha256"], explainer.card
        videos = saved_videos(self.out, self._rows, sha256)
        return write_exports(
            formats, videos, self.out, ClassNames(card.classes, card.cache.objects)
        )

    def _one(self, video: VideoFile) -> str:
        examined = self.predictor.examine(video)
        fingerprint = edited_fingerprint(examined.fingerprint, self.edits)
        is_known = self._rows.get(video.video_id, {}).get("fingerprint") == fingerprint
        if is_known and is_saved(self.out / video.video_id, fingerprint, self.formats):
            return "skipped"
        with closing(self._pool.start(examined.request)) as frames:
            explanation, scores = self.predictor.explain(examined, frames)
        explanation = explanation.what_if(*self.edits)
        self._explained.add(video.video_id)
        plain = [kind for kind in self.formats if kind is not Format.VIDEO]
        try:
            save(explanation, self.out, plain, video.path)
        finally:
            self._add(_row(explanation, scores, self.formats))
        if explanation.predictions:
            LOGGER.info("%s: %s", video.video_id, explanation.predictions[0].sentence)
        if Format.VIDEO in self.formats:
            options = examined.request.options
            save(explanation, self.out, [Format.VIDEO], video.path, options)
        return "done"

    def _add(self, row: dict[str, Any]) -> None:
        """Append a line to `predictions.jsonl`. The last line of an id is valid."""
        self._rows[row["id"]] = row
        with folder_lock(self.out):
            append_line(self._path, json.dumps(row, allow_nan=False))


def _row(
    explanation: Explanation, scores: list[float], formats: Sequence[Format]
) -> dict[str, Any]:
    name = f"{explanation.video.id}/{FILES[Format.JSON][0]}"
    return {
        "id": explanation.video.id,
        "status": "done",
        "top": [
            {"class_id": action.class_id, "name": action.name, "score": action.score}
            for action in explanation.predictions
        ],
        "scores": scores,
        "kept": sum(token.keep for token in explanation.tokens),
        "tokens": len(explanation.tokens),
        "warnings": [warning.code for warning in explanation.warnings],
        "explanation": name if Format.JSON in formats else None,
        "fingerprint": explanation.fingerprint,
    }


if __name__ == "__main__":
    run_command(main)
