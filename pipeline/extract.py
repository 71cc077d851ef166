"""`python -m pipeline.extract`: a folder of raw videos becomes a cache, one file per video."""

import logging
from pathlib import Path

from tqdm import tqdm

from pipeline.accounting import Failures, RunRecord
from pipeline.cache import ClipReader, load_clip, save_clip
from pipeline.cache_folder import (
    append_manifest,
    clip_path,
    is_known_file,
    read_manifest,
    replace_clip,
)
from pipeline.command_line import EXIT_OK, common_parser, parse_words, run_command
from pipeline.config import config_as_dict, load_config
from pipeline.detector_loading import load_detector, pick_device
from pipeline.errors import FailureReason, ItemError
from pipeline.extraction import ClipExtractor, clip_fingerprint
from pipeline.extraction_job import Job, open_cache, prepare
from pipeline.files import file_sha256, json_sha256
from pipeline.predictor_loading import PredictorFile, load_predictor
from pipeline.relation_prediction import with_predicted
from pipeline.safely import as_item_error
from pipeline.temporary_files import sweep_temporary_files
from pipeline.video_files import VideoFile
from relations.sttran import STTran

LOG = logging.getLogger("extract")
EXAMPLE = (
    "python -m pipeline.extract --config configs/charades.yaml --videos Charades_v1_480 "
    "--annotations annotations --cache cache/charades detection.weights=detector.safetensors"
)


def main(argv: list[str]) -> int:
    """Run the stage; returns its exit code."""
    parser = common_parser("python -m pipeline.extract", __doc__ or "", EXAMPLE)
    parser.add_argument("--config", type=Path, default=Path("configs/charades.yaml"))
    parser.add_argument("--videos", type=Path, required=True, help="folder of raw videos")
    parser.add_argument(
        "--annotations", type=Path, action="append", default=[], help="folder; repeatable"
    )
    parser.add_argument("--cache", type=Path, required=True, help="folder to write")
    parser.add_argument("--max-failures", type=int, help="exit 3 beyond this many (default: none)")
    parser.add_argument("--retry-failed", action="store_true", help="try known failures again")
    args, words = parse_words(parser, argv)
    config = load_config(args.config, words)
    if args.max_failures is not None:
        config.max_failures = args.max_failures
    job = prepare(config, args.videos, args.annotations)
    open_cache(args.cache, job.info)
    for path in sweep_temporary_files(args.cache):
        LOG.info("removed %s, left by a run that was killed", path.name)
    record = RunRecord(
        args.cache,
        stage="extract",
        config=config_as_dict(config),
        argv=argv,
        seed=config.detection.seed,
    )
    with record as run:
        Extraction(job, args.cache, run, retry=args.retry_failed).run()
        if job.identity.is_random:
            run.extra["warnings"] = ["RANDOM_WEIGHTS"]
        run.extra["detector"] = job.identity.to_tree()
        if job.predictor is not None:
            run.extra["relation_predictor"] = job.predictor.identity
    _report(run, args.cache)
    return run.exit_code


class Extraction:
    """The loop over videos: skip, try, count."""

    def __init__(self, job: Job, cache: Path, run: RunRecord, *, retry: bool) -> None:
        self.job, self.cache, self.run_record, self.retry = job, cache, run, retry
        self.failures = Failures(cache)
        self.manifest = read_manifest(cache)
        self._settings_hash = json_sha256([job.settings, job.identity.to_tree()])
        self._extractor: ClipExtractor | None = None
        self._predictor: STTran | None = None

    def run(self) -> None:
        """Go through all videos."""
        videos = self.job.videos
        counts = self.run_record.counts
        counts.found = len(videos)
        self.failures.keep_only({video.video_id for video in videos})
        seen: dict[str, Path] = {}
        for video in tqdm(videos, desc="extract", unit="video", disable=None):
            outcome = self._one(video, seen)
            setattr(counts, outcome, getattr(counts, outcome) + 1)
            LOG.debug("%s %s", video.video_id, outcome)
            budget = self.job.config.max_failures
            if budget is not None and counts.failed > budget:
                LOG.error("stopped: %d failures, at most %d allowed", counts.failed, budget)
                break

    def _one(self, video: VideoFile, seen: dict[str, Path]) -> str:
        item, sha256 = video.video_id, ""
        try:
            with as_item_error(item):
                if item in seen:
                    item = f"{item} ({video.path.name})"
                    raise ItemError(
                        FailureReason.DUPLICATE_ID,
                        f"{video.path}: one file per id expected, so has {seen[video.video_id]}",
                    )
                seen[item] = video.path
                sha256 = file_sha256(video.path)
                if not self.retry and self.failures.known(item, sha256, self._failure_key(item)):
                    return "failed"
                outcome = self._extract(video, sha256)
        except ItemError as error:
            LOG.error("%s failed: %s: %s", item, error.reason.value, error)
            self.failures.add(
                item, error, stage="extract", sha256=sha256, settings=self._failure_key(item)
            )
            return "failed"
        self.failures.remove(item)
        return outcome

    def _failure_key(self, item: str) -> str:
        annotations = self.job.annotations
        annotation = annotations.videos.get(item) if annotations else None
        bad = annotations.errors.get(item) if annotations else None
        mark = annotation.fingerprint() if annotation else bad
        return json_sha256([self._settings_hash, self.job.config.decode.max_pixels, mark])

    def _extract(self, video: VideoFile, sha256: str) -> str:
        annotation = self.job.annotation_of(video.video_id)
        fingerprint = clip_fingerprint(sha256, self.job.settings, self.job.identity, annotation)
        path = clip_path(self.cache, video.video_id)
        predictor = self.job.predictor
        if self._is_done(path, fingerprint):
            there = ClipReader(path).header.predictor
            if predictor is None or there == predictor.identity:
                return "skipped"
            if is_known_file(path, self.manifest[path.stem]):
                clip = load_clip(path)
                clip = with_predicted(clip, self._get_predictor(predictor), predictor.identity)
                row = replace_clip(self.cache, clip, self.manifest[path.stem])
                self.manifest[video.video_id] = row
                return "done"
        clip = self._get_extractor().extract(
            video.path, video.video_id, fingerprint=fingerprint, annotation=annotation
        )
        if predictor is not None:
            clip = with_predicted(clip, self._get_predictor(predictor), predictor.identity)
        digest = save_clip(path, clip)
        row = {
            "id": video.video_id,
            "sha256": digest,
            "fingerprint": fingerprint,
            "bytes": path.stat().st_size,
            "frames": clip.num_frames,
            "boxes": len(clip.boxes),
            "pairs": len(clip.pairs),
        }
        append_manifest(self.cache, row)
        self.manifest[video.video_id] = row
        return "done"

    def _is_done(self, path: Path, fingerprint: str) -> bool:
        row = self.manifest.get(path.stem)
        if row is None or not path.is_file():
            return False
        # The size tells most damage at once; after an addition that was cut off only bytes can.
        if row.get("bytes") != path.stat().st_size and not is_known_file(path, row):
            return False
        try:
            return ClipReader(path).header.fingerprint == fingerprint == row.get("fingerprint")
        except ItemError:
            return False

    def _get_predictor(self, file: PredictorFile) -> STTran:
        if self._predictor is None:
            self._predictor = load_predictor(file, pick_device(self.job.config.device))
        return self._predictor

    def _get_extractor(self) -> ClipExtractor:
        if self._extractor is None:
            job, config = self.job, self.job.config
            device = pick_device(config.device)
            detector = load_detector(config.detection, job.vocabulary.objects, device)
            self._extractor = ClipExtractor(detector, job.identity, config, job.settings, device)
        return self._extractor


def _report(run: RunRecord, cache: Path) -> None:
    counts = run.counts
    if counts.done == 0 and counts.failed == 0 and run.exit_code == EXIT_OK:
        print(f"nothing to do: all {counts.found} videos are in {cache}")
    elif counts.done == 0 and counts.skipped + counts.failed == counts.found:
        print(f"nothing new: {counts}")
    print(f"extract: {counts}")
    if counts.failed:
        print(f"why they failed: {cache / 'failures.jsonl'}")


if __name__ == "__main__":
    run_command(main)
