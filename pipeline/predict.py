"""`python -m pipeline.predict`: recognize the actions of new videos and explain them."""

import json
import logging
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipeline.cache.union_features import reduce_union
from pipeline.config.loading import config_as_dict, load_config
from pipeline.config.schema import Backend, Branch, Config, UnionKind
from pipeline.datasets import Annotations, ClipAnnotation, read_dataset
from pipeline.datasets.video_files import (
    VideoFile,
    in_order,
    list_videos,
    sort_videos,
    video_sha256,
)
from pipeline.datasets.vocabulary import load_vocabulary
from pipeline.decoding import DecodePool, num_workers
from pipeline.errors import FailureReason, ItemError, UsageError
from pipeline.evaluate import run_config
from pipeline.explanation.explainer import Explainer, load_explainer
from pipeline.extraction.clip import ClipExtractor, clip_fingerprint, decode_options, frame_request
from pipeline.runtime.command_line import common_parser, parse_words, run_command
from pipeline.runtime.devices import pick_device
from pipeline.runtime.failures import Failures, log_failure
from pipeline.runtime.files import json_sha256, make_folder, read_rows, write_atomically, write_json
from pipeline.runtime.item_errors import as_item_error
from pipeline.runtime.run_record import RunRecord
from pipeline.weights.detectors import find_described_detector
from pipeline.weights.model_card import ModelCard
from pipeline.weights.run_folder import read_card

LOGGER = logging.getLogger("predict")
EXAMPLE = (
    "python -m pipeline.predict --run runs/oracle clip.mp4 --out explained "
    "detection.weights=detector.safetensors"
)


def main(argv: list[str]) -> int:
    """Run the stage and return its exit code."""
    parser = common_parser("python -m pipeline.predict", __doc__ or "", EXAMPLE)
    add = parser.add_argument
    add("--run", type=Path, required=True, help="run folder of pipeline.train")
    add("videos", type=Path, nargs="+", help="video files, or folders of video files")
    add("--out", type=Path, required=True, help="output folder")
    add("--config", type=Path, help="YAML file that sets detection.weights")
    add(
        "--annotations",
        type=Path,
        action="append",
        default=[],
        help="annotation folder (repeatable)",
    )
    args, words = parse_words(parser, argv)
    card = read_card(args.run)
    if card.branch != Branch.both.name:
        raise UsageError(
            f"--run: a network with a video branch expected, {args.run} was trained with "
            f"branch={card.branch}; train one with branch=both"
        )
    config = predict_config(args.run, card, args.config, words)
    videos = find_videos(args.videos, dumped=config.decode.backend is Backend.frames)
    device = pick_device(config.device)
    detector = find_described_detector(card.cache.detector, config.detection)
    vocabulary = load_vocabulary(config.vocabulary)
    annotations = None
    if args.annotations:
        annotations = read_dataset(config.dataset.value, args.annotations, vocabulary)
    explainer = load_explainer(args.run, config, detector, device)
    make_folder(args.out, "--out")
    seed = int(card.training.get("seed", 0))
    record = RunRecord(
        args.out, stage="predict", config=config_as_dict(config), argv=argv, seed=seed
    )
    with record as run:
        if detector.is_random:
            LOGGER.warning("RANDOM_WEIGHTS: the detector is untrained; its boxes are meaningless")
            run.extra["warnings"] = ["RANDOM_WEIGHTS"]
        run.counts.found = len(videos)
        decode = config.decode
        workers = min(num_workers(decode.workers), 1)
        with DecodePool(workers, int(decode.memory_gb * 1e9)) as pool:
            Prediction(explainer, annotations, args.out, run, pool).run(videos)
    print(f"predict: {run.counts}")
    if run.counts.failed:
        print(f"failures: {args.out / 'failures.jsonl'}")
    return run.exit_code


def predict_config(run: Path, card: ModelCard, path: Path | None, words: Sequence[str]) -> Config:
    """Load the settings of a training run for prediction and apply `key=value` words.

    Args:
        run: run folder of the network.
        card: card of the network.
        path: YAML file from which only `detection.weights` is read, or None.
        words: `key=value` words of the command line; they override `path`.

    Raises:
        UsageError: if a word changes a setting that is fixed by the trained network.
    """
    for word in words:
        key = word.partition("=")[0]
        if key in ("boxes", "frames.num", "union") or (
            key.startswith("detection.")
            and key not in ("detection.weights", "detection.batch_size", "detection.config")
        ):
            raise UsageError(
                f"{word!r}: this setting is fixed by the network in {run}; leave it out"
            )
    config = run_config(run, words)
    if path is not None and not any(word.startswith("detection.weights=") for word in words):
        config.detection.weights = load_config(path).detection.weights
    config.frames.num = card.cache.settings.frames
    config.union = UnionKind[card.cache.settings.union]
    return config


def find_videos(paths: Sequence[Path], *, dumped: bool) -> list[VideoFile]:
    """List videos, sorted by id.

    Args:
        paths: video files, or folders that are searched for videos.
        dumped: whether the videos in those folders are folders of dumped frames.

    Raises:
        UsageError: if a folder contains no videos.
    """
    files: list[VideoFile] = []
    for path in paths:
        if path.is_dir():
            files += list_videos(path, dumped=dumped)
        else:
            files += sort_videos([path])
    return in_order(files)


class Prediction:
    """Prediction of several videos.

    A video is skipped if its explanation exists and has the same fingerprint. A video that fails
    is recorded in `failures.jsonl`.

    Args:
        explainer: trained network with its label bank and calibration.
        annotations: annotations of the videos, or None.
        out: output folder.
        run: record of the run; its counts are updated.
        pool: pool of processes that decode the videos.
    """

    def __init__(
        self,
        explainer: Explainer,
        annotations: Annotations | None,
        out: Path,
        run: RunRecord,
        pool: DecodePool,
    ) -> None:
        self.explainer, self.annotations, self.out = explainer, annotations, out
        self.run_record, self._pool = run, pool
        self.failures = Failures(out)
        self.rows = read_rows(out / "predictions.jsonl")
        self._extractors: dict[str, ClipExtractor] = {}

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
                            f"{item}: one file per id expected; rename it",
                        )
                    seen.add(item)
                    outcome = self._one(video)
                self.failures.remove(item)
            except ItemError as error:
                log_failure(LOGGER, item, error)
                self.failures.add(item, error, stage="predict")
                self.rows[item] = {"id": item, "status": "failed", "reason": error.reason.value}
                outcome = "failed"
            self._write_rows()
            setattr(counts, outcome, getattr(counts, outcome) + 1)
            budget = self.explainer.config.max_failures
            if budget is not None and counts.failed > budget:
                LOGGER.error("stopped: %d failures, at most %d allowed", counts.failed, budget)
                break

    def _one(self, video: VideoFile) -> str:
        sha256 = video_sha256(video.path)
        annotation, boxes = self._annotation(video.video_id)
        extractor, explainer = self._extractor(boxes), self.explainer
        config, settings = explainer.config, extractor.settings
        inner = clip_fingerprint(sha256, settings, explainer.detector, annotation)
        limits = [config.predict.top, config.predict.threshold, config.model.tolerance]
        fingerprint = json_sha256([inner, explainer.generator, *limits])
        name = f"{video.video_id}/explanation.json"
        row = self.rows.get(video.video_id, {})
        if row.get("fingerprint") == fingerprint and (self.out / name).is_file():
            return "skipped"
        request = frame_request(
            video.path,
            sha256,
            annotation,
            settings,
            options=decode_options(config.decode),
            batch_size=config.detection.batch_size,
        )
        with closing(self._pool.start(request)) as frames:
            clip = extractor.extract(
                frames, video.video_id, fingerprint=inner, annotation=annotation
            )
        clip = reduce_union(clip, settings.union)
        trained = explainer.card.cache.settings.boxes
        warnings = ("DETECTED_BOXES",) if boxes == "detected" and trained != boxes else ()
        tree, scores = explainer.explain(clip, fingerprint, warnings)
        (self.out / video.video_id).mkdir(exist_ok=True)
        write_json(self.out / name, tree)
        self.rows[video.video_id] = _row(tree, scores, name)
        for prediction in tree["predictions"][:1]:
            LOGGER.info("%s: %s", video.video_id, prediction["sentence"])
        return "done"

    def _annotation(self, video_id: str) -> tuple[ClipAnnotation | None, str]:
        """Return the annotation to use, or None, and the source of the boxes.

        Annotated boxes are used if the network was trained on them and the video has annotated
        frames.
        """
        annotation = self.annotations.of_video(video_id) if self.annotations else None
        trained = self.explainer.card.cache.settings.boxes
        if trained == "ground-truth" and annotation is not None and annotation.frames:
            return annotation, "ground-truth"
        return None, "detected"

    def _extractor(self, boxes: str) -> ClipExtractor:
        if boxes not in self._extractors:
            e, decode = self.explainer, self.explainer.config.decode
            made = next(iter(self._extractors.values()), None)
            settings = replace(
                e.card.cache.settings,
                boxes=boxes,
                tolerant=decode.tolerant,
                backend=decode.backend.value,
                fps=decode.fps,
            )
            self._extractors[boxes] = ClipExtractor(
                made.network if made else e.detector.load(e.card.cache.objects, e.device),
                e.detector,
                settings,
                e.device,
            )
        return self._extractors[boxes]

    def _write_rows(self) -> None:
        lines = [json.dumps(row, allow_nan=False) + "\n" for row in self.rows.values()]
        write_atomically(self.out / "predictions.jsonl", "".join(lines).encode())


def _row(tree: dict[str, Any], scores: list[float], name: str) -> dict[str, Any]:
    told = ("class_id", "name", "score")
    return {
        "id": tree["video"]["id"],
        "status": "done",
        "top": [{key: action[key] for key in told} for action in tree["predictions"]],
        "scores": scores,
        "kept": sum(token["keep"] for token in tree["tokens"]),
        "tokens": len(tree["tokens"]),
        "warnings": [warning["code"] for warning in tree["warnings"]],
        "explanation": name,
        "fingerprint": tree["fingerprint"],
    }


if __name__ == "__main__":
    run_command(main)
