"""`python -m tools.evaluate_relations`: measure the recall of a relation predictor on a cache.

PredCLS and SGCLS require a cache of annotated boxes. SGDET requires a cache of detected boxes and
Action Genome's files (--annotations). All modes require the groups of predicates of Action Genome,
for which the recall is defined. The results are compared with a frequency baseline and with a
ceiling. The baseline predicts the predicate frequencies of each object class in the training
videos. Its results are null if there are no annotated training videos. The ceiling is the best
result with one predicate per group.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipeline.cache.clip import CachedClip
from pipeline.cache.folder import CacheInfo, read_cache_info
from pipeline.cache.listing import ClipEntry, list_clips
from pipeline.cache.reader import ClipReader
from pipeline.config.schema import RelationPredictorConfig
from pipeline.datasets import FrameAnnotation
from pipeline.datasets.charades.release import read_annotations
from pipeline.datasets.vocabulary import load_vocabulary
from pipeline.errors import StageError, UsageError
from pipeline.evaluation.relations.graphs import (
    Mode,
    annotated_truth,
    build_scene,
    cached_truth,
    group_sizes,
    predict_scene,
    without_small,
)
from pipeline.evaluation.relations.report import print_report
from pipeline.evaluation.relations.scores import Tally
from pipeline.runtime.command_line import (
    EXIT_FAILURES,
    EXIT_OK,
    VERIFY_HELP,
    common_parser,
    parse_words,
    run_command,
)
from pipeline.runtime.devices import pick_device
from pipeline.runtime.failures import log_failure
from pipeline.runtime.files import write_json, write_temporary
from pipeline.samples.dataset import check_finite
from pipeline.training.relations.samples import GROUND_TRUTH, read_annotated
from pipeline.weights.predictors import check_predictor_on_cache, find_predictor, load_predictor
from relations.frequency import FrequencyBaseline
from relations.recall import SceneGraph
from relations.sttran import STTran

LOGGER = logging.getLogger("evaluate_relations")
EXAMPLE = (
    "python -m tools.evaluate_relations --weights runs/relations/predictor.safetensors "
    "--cache cache/oracle --mode predcls"
)
MIN_SIDE_HELP = (
    "minimum side length in pixels; annotated objects with a shorter side are ignored (the "
    "published SGCLS and SGDET results use 16)"
)
OURS, FREQUENCY, CEILING = "predictor", "frequency", "ceiling"


@dataclass(frozen=True)
class RelationEvaluation:
    """Inputs of an evaluation.

    Attributes:
        mode: `predcls`, `sgcls` or `sgdet`, see `build_scene`.
        model: relation predictor.
        baseline: frequency baseline, or None if there are no annotated training videos.
        group_sizes: number of predicates in each group.
        min_side: minimum side length in pixels. Annotated objects with a shorter side are ignored.
        frames: annotated frames by video id and frame index. Empty unless the mode is `sgdet`.
    """

    mode: Mode
    model: STTran
    baseline: FrequencyBaseline | None
    group_sizes: tuple[int, int, int]
    min_side: float
    frames: dict[str, dict[int, FrameAnnotation]]


def main(argv: list[str]) -> int:
    """Run the command and return the exit code."""
    prog = "python -m tools.evaluate_relations"
    parser = common_parser(prog, __doc__ or "", EXAMPLE, has_settings=False)
    parser.add_argument("--weights", required=True, help="weights of the relation predictor")
    parser.add_argument(
        "--cache", type=Path, required=True, help="folder written by pipeline.extract"
    )
    parser.add_argument("--mode", choices=[m.value for m in Mode], required=True)
    parser.add_argument(
        "--annotations",
        type=Path,
        action="append",
        default=[],
        help="folder of annotations, required for sgdet",
    )
    parser.add_argument("--split", choices=["train", "test"], default="test")
    parser.add_argument("--min-side", type=float, default=0.0, help=MIN_SIDE_HELP)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--verify", action="store_true", help=VERIFY_HELP)
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    args, _ = parse_words(parser, argv)
    if not 0 <= args.min_side < math.inf:
        raise UsageError(f"--min-side: pixels of at least 0 expected, got {args.min_side}")
    check_writable(args.json)
    device = pick_device(args.device)
    info = read_cache_info(args.cache)
    sizes = group_sizes(info)
    mode = Mode[args.mode]
    check_mode(mode, info, args.annotations)
    file = find_predictor(RelationPredictorConfig(weights=args.weights))
    listed, bad = list_clips(args.cache, split=args.split, verify=args.verify)
    clips = [c for c in listed if GROUND_TRUTH in c.relations]
    if not clips:
        raise UsageError(
            f"--cache: annotated videos of the {args.split} split expected in {args.cache}, found "
            f"{len(listed)} clips without annotated relations and {len(bad)} damaged clips"
        )
    check_predictor_on_cache(file, info, clips[0].path)
    for item, error in bad.items():
        log_failure(LOGGER, item, error)
    job = RelationEvaluation(
        mode,
        load_predictor(file, device),
        count_frequencies(list_clips(args.cache, split="train", verify=args.verify)[0], info),
        sizes,
        args.min_side,
        _annotated(args.annotations, info) if mode is Mode.sgdet else {},
    )
    tree = measure(job, clips, info)
    tree |= {
        "split": args.split,
        "damaged": len(bad),
        "predictor": file.to_dict(),
        "detector": info.detector.get("weights"),
        "min_side": args.min_side,
    }
    print_report(tree)
    if args.json:
        write_json(args.json, tree)
    return EXIT_FAILURES if bad else EXIT_OK


def check_writable(path: Path | None, option: str = "--json") -> None:
    """Check that an output file is writable.

    Raises:
        UsageError: if it is not writable.
    """
    if path is None:
        return
    expected = f"{option}: a file in a writable folder expected"
    if path.is_dir():
        raise UsageError(f"{expected}, but {path} is a folder")
    try:
        write_temporary(path, b"").unlink()
    except OSError as error:
        raise UsageError(f"{expected}, but {path} cannot be written: {error}") from error


def check_mode(mode: Mode, info: CacheInfo, annotations: Sequence[Path]) -> None:
    """Check that the boxes of the cache and the annotations fit the mode.

    Raises:
        UsageError: if the boxes or the annotations do not fit. The message describes the first
            mismatch.
    """
    boxes = info.settings.boxes
    if mode is Mode.sgcls and boxes != "ground-truth":
        raise UsageError(f"--mode sgcls: a cache of boxes=ground-truth expected, got boxes={boxes}")
    if mode is Mode.sgdet and boxes != "detected":
        raise UsageError(f"--mode sgdet: a cache of boxes=detected expected, got boxes={boxes}")
    if mode is Mode.sgdet and not annotations:
        raise UsageError(
            "--mode sgdet: --annotations DIR with Action Genome's pickles expected, because a "
            "cache of detected boxes does not contain the annotated boxes"
        )
    if mode is not Mode.sgdet and annotations:
        raise UsageError(
            f"--mode {mode.value}: no --annotations expected, got {annotations[0]}; omit it, "
            "because the cache contains the annotated relations"
        )


def count_frequencies(clips: Sequence[ClipEntry], info: CacheInfo) -> FrequencyBaseline | None:
    """Count the annotated predicates of each object class in the training videos of a cache.

    Args:
        clips: clips of the training split.
        info: description of the cache.

    Returns:
        Frequency baseline, or None if there are no annotated training videos.
    """
    baseline = FrequencyBaseline(len(info.objects), sum(group_sizes(info)))
    for entry in clips:
        if GROUND_TRUTH in entry.relations:
            clip = read_annotated(entry)
            baseline.add(clip.labels[clip.pair_rows[:, 1]], clip.predicates[GROUND_TRUTH])
    return baseline if baseline.num_pairs else None


def measure(job: RelationEvaluation, clips: Sequence[ClipEntry], info: CacheInfo) -> dict[str, Any]:
    """Measure the predictor, the frequency baseline and the ceiling.

    Args:
        job: inputs of the evaluation.
        clips: annotated clips of the evaluated split.
        info: description of the cache.

    Returns:
        JSON tree of the results. The results of the frequency baseline are None if there is no
        baseline.

    Raises:
        StageError: if no frame has annotated relations of sufficiently large objects.
    """
    tallies = {name: Tally() for name in (OURS, FREQUENCY, CEILING)}
    absent, lost, pairs = 0, 0, 0
    for entry in tqdm(clips, desc=job.mode.value, unit="video", disable=None):
        clip, truth, missing = _truth(job, entry)
        absent += missing
        truth = [without_small(graph, job.min_side) for graph in truth]
        scene = build_scene(clip, job.mode, job.model)
        lost, pairs = lost + scene.num_lost, pairs + len(scene.batch.pairs)
        found = {OURS: predict_scene(job.model, scene)}
        if job.baseline is not None:
            found[FREQUENCY] = job.baseline.predict(scene.object_labels)
        for name, predicates in found.items():
            tallies[name].add(truth, scene.graphs(predicates, job.group_sizes))
        tallies[CEILING].add(truth, truth)
    if not tallies[CEILING].frames["with"]:
        raise StageError(
            f"--mode {job.mode.value}: frames with annotated relations of objects of at least "
            f"{job.min_side:g} pixels expected, but {len(clips)} videos have none in the cache "
            f"({absent} annotated frames are not cached)"
        )
    results: dict[str, Any] = {n: t.to_dict(info.predicate_groups) for n, t in tallies.items()}
    if job.baseline is None:
        results[FREQUENCY] = None
    return {
        "mode": job.mode.value,
        "videos": len(clips),
        "frames_not_in_cache": absent,
        "pairs": pairs,
        "pairs_without_union_features": lost,
        "results": results,
    }


def _truth(job: RelationEvaluation, entry: ClipEntry) -> tuple[CachedClip, list[SceneGraph], int]:
    """Return the evaluated frames, their annotated graphs and the number of uncached frames.

    As in training, only frames with annotated relations are evaluated. Other frames are not part of
    the predictor's windows.
    """
    if job.mode is not Mode.sgdet:
        clip = read_annotated(entry)
        return clip, cached_truth(clip, job.group_sizes), 0
    height, width = entry.header.source.size
    frames = {
        index: frame.scaled_to(height, width, entry.video_id)
        for index, frame in job.frames.get(entry.video_id, {}).items()
    }
    graphs = zip(frames, annotated_truth(list(frames.values()), job.group_sizes), strict=True)
    known = {index: graph for index, graph in graphs if graph.predicates.any()}
    reader = ClipReader(entry.path)
    rows = [row for row, index in enumerate(reader.frame_index.tolist()) if index in known]
    clip = reader.read(rows)
    check_finite(clip)
    return clip, [known[index] for index in clip.frame_index.tolist()], len(known) - len(rows)


def _annotated(folders: Sequence[Path], info: CacheInfo) -> dict[str, dict[int, FrameAnnotation]]:
    vocabulary = load_vocabulary(info.settings.vocabulary)
    annotations = read_annotations(folders, vocabulary)
    return {
        video_id: {frame.frame_index: frame for frame in clip.frames}
        for video_id, clip in annotations.videos.items()
    }


if __name__ == "__main__":
    run_command(main)
