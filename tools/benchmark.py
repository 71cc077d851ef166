"""`python -m tools.benchmark NAME`: compare the speed of several variants in one run.

`all` runs the benchmarks of the stages, from decoding to prediction. `tools.benchmark_page` makes a
page from its JSON files.
"""

import json
import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from detection.resnet import STAGES
from pipeline.datasets.video_files import list_videos
from pipeline.decoding import open_video
from pipeline.errors import ItemError, UsageError
from pipeline.runtime.command_line import EXIT_OK, Parser, common_parser, parse_words, run_command
from pipeline.runtime.devices import pick_device
from pipeline.runtime.files import write_atomically, write_json
from relations.settings import PredictorSettings
from tools import synthesize
from tools.proofs.benchmarks.cache_reading import ReadingPlan, benchmark_reading, print_reading
from tools.proofs.benchmarks.decoding import DecodingPlan, benchmark_decoding, print_decoding
from tools.proofs.benchmarks.detector import Plan, benchmark_detector, print_detector
from tools.proofs.benchmarks.extraction import (
    ExtractionPlan,
    benchmark_extraction,
    estimate_videos,
    print_extraction,
)
from tools.proofs.benchmarks.prediction import (
    PredictionPlan,
    benchmark_prediction,
    print_prediction,
)
from tools.proofs.benchmarks.relations import RelationPlan, benchmark_relations, print_relations
from tools.proofs.benchmarks.selection import (
    SelectionPlan,
    benchmark_selection,
    print_selection,
)
from tools.proofs.benchmarks.training import TrainingPlan, benchmark_training, print_training
from tools.proofs.benchmarks.training_loop import benchmark_loop, print_loop

SCHEMA = "laiar.benchmark/1"
EXAMPLE = "python -m tools.benchmark detector --num-frames 10 --rounds 3"


def main(argv: list[str]) -> int:
    """Run a benchmark and return the exit code."""
    args, _ = parse_words(_parser(), argv)
    _check(args)
    device = pick_device(args.device)
    args.batch_size = args.batch_size or (16 if device.type == "cuda" else 1)
    names = STAGES_OF_ALL if args.name == ALL else (args.name,)
    machine = _machine(torch.device("cpu") if args.name in ON_CPU else device)
    print(f"{machine['device']}, {machine['threads']} threads, torch {machine['torch']}")
    results = {}
    for name in names:
        measure, show = BENCHMARKS[name]
        if args.name == ALL:
            print(f"\n{name}\n")
        results[name] = measure(args, device)
        show(results[name])
    if args.json and args.name == ALL:
        tree = {"schema": SCHEMA, "machine": machine, "command": argv, "results": results}
        # The keys are not sorted, so that a page has the rows in their order.
        write_atomically(args.json, json.dumps(tree, indent=1, allow_nan=False).encode())
    elif args.json:
        write_json(args.json, results[args.name] | {"machine": machine})
    return EXIT_OK


def _parser() -> Parser:
    parser = common_parser("python -m tools.benchmark", __doc__ or "", EXAMPLE, has_settings=False)
    parser.add_argument("name", choices=[*BENCHMARKS, ALL])
    parser.add_argument(
        "--video", type=Path, help="video that provides the frames (default: smooth noise)"
    )
    parser.add_argument("--num-frames", type=int, default=10, help="number of frames per video")
    parser.add_argument(
        "--num-videos",
        type=int,
        default=4,
        help="number of videos, for relations, train, selection and cache",
    )
    parser.add_argument(
        "--max-pairs",
        type=int,
        default=6,
        help="largest number of pairs per frame, for relations and cache",
    )
    parser.add_argument("--frame-size", type=int, nargs=2, default=(480, 640), metavar=("H", "W"))
    parser.add_argument("--short-side", type=int, default=600)
    parser.add_argument("--depth", type=int, default=101)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument(
        "--widths",
        type=int,
        nargs="+",
        default=[64, 128, 256],
        help="network widths, for train and selection",
    )
    parser.add_argument(
        "--batch-size",
        type=int,
        help="frames per call of our detector (default: 1, or 16 on a GPU)",
    )
    parser.add_argument(
        "--videos",
        type=Path,
        help="folder of videos, for extract, decode and predict (default for decode and predict: "
        "four videos of the synthetic world)",
    )
    parser.add_argument("--preset", help="preset of the detector, for extract")
    parser.add_argument("--proposals", type=int, help="proposals per frame, for extract")
    parser.add_argument("--decode-workers", type=int, help="decode processes, for extract")
    parser.add_argument(
        "--estimate", type=int, help="for extract: also estimate this number of such videos"
    )
    parser.add_argument(
        "--price", type=float, help="for --estimate: price of an hour of the device"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--compile", action="store_true", help="measure the compiled backbone as well"
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    return parser


def _check(args: Any) -> None:
    """Raise a UsageError for an argument that is out of range."""
    if args.depth not in STAGES:
        raise UsageError(f"--depth: one of {', '.join(map(str, STAGES))} expected")
    counts = (args.num_videos, args.max_pairs, args.num_frames, args.rounds)
    if min(*counts, args.width, args.short_side, *args.frame_size, *args.widths) < 1:
        raise UsageError("--num-frames, --rounds, --width, ...: numbers of at least 1 expected")
    if args.batch_size is not None and args.batch_size < 1:
        raise UsageError(f"--batch-size: at least 1 expected, got {args.batch_size}")
    if args.estimate is not None and (not 1 <= args.estimate <= 10**12 or args.name != "extract"):
        raise UsageError("--estimate: a number from 1 to 10^12 expected, and only for extract")
    if args.price is not None and (args.estimate is None or not 0 <= args.price <= 1e9):
        raise UsageError("--price: a price from 0 to 10^9 expected, and only with --estimate")
    if args.json and (args.json.is_dir() or not args.json.resolve().parent.is_dir()):
        raise UsageError(f"--json: a file in an existing folder expected, got {args.json}")


def _relations(args: Any, device: torch.device) -> dict[str, Any]:
    sizes = (args.num_videos, args.num_frames, args.max_pairs)
    return benchmark_relations(RelationPlan(*sizes, PredictorSettings(), args.rounds, device))


def _train(args: Any, _device: torch.device) -> dict[str, Any]:
    numbers = tuple(sorted({1, torch.get_num_threads()}))
    plan = TrainingPlan(tuple(args.widths), args.num_videos, numbers, args.rounds)
    return benchmark_training(plan) | {"loop": benchmark_loop(plan)}


def _print_train(result: dict[str, Any]) -> None:
    print_training(result)
    print_loop(result["loop"])


def _selection(args: Any, _device: torch.device) -> dict[str, Any]:
    plan = TrainingPlan(tuple(args.widths), args.num_videos, (1,), args.rounds)
    return benchmark_selection(SelectionPlan(plan))


def _extract(args: Any, device: torch.device) -> dict[str, Any]:
    if args.videos is None:
        raise UsageError("extract requires --videos DIR")
    settings = {
        "detection.preset": args.preset,
        "detection.proposals": args.proposals,
        "detection.depth": args.depth,
        "detection.width": args.width,
        "detection.short_side": args.short_side,
        "detection.batch_size": args.batch_size,
        "decode.workers": args.decode_workers,
    }
    plan = ExtractionPlan(args.videos, args.num_frames, settings, args.rounds, device)
    result = benchmark_extraction(plan)
    if args.estimate is not None:
        boxes = estimate_videos(result, args.estimate, args.price)
        result["estimate"] = {"videos": args.estimate, "boxes": boxes}
    return result


def _cache(args: Any, _device: torch.device) -> dict[str, Any]:
    return benchmark_reading(ReadingPlan(args.num_videos, 40, 16, args.max_pairs, args.rounds))


def _decode(args: Any, _device: torch.device) -> dict[str, Any]:
    with _videos(args.videos) as videos:
        return benchmark_decoding(DecodingPlan(videos, args.num_frames, args.rounds))


def _predict(args: Any, device: torch.device) -> dict[str, Any]:
    with _videos(args.videos) as videos:
        return benchmark_prediction(PredictionPlan(videos, args.rounds, device))


@contextmanager
def _videos(folder: Path | None) -> Iterator[list[Path]]:
    """Provide the paths of the videos of a folder, or of four videos of the synthetic world."""
    if folder is not None:
        videos = list_videos(folder)
        if len({video.video_id for video in videos}) < len(videos):
            raise UsageError(f"--videos: videos of different names expected in {folder}")
        yield [video.path for video in videos]
        return
    with tempfile.TemporaryDirectory() as temporary:
        sizes = ["--train", "2", "--test", "2", "--seed", "0"]
        synthesize.main(["--out", f"{temporary}/world", *sizes])
        yield [video.path for video in list_videos(Path(temporary) / "world" / "videos")]


def _detector(args: Any, device: torch.device) -> dict[str, Any]:
    plan = Plan(
        _frames(args),
        depth=args.depth,
        width=args.width,
        short_side=args.short_side,
        batch_size=args.batch_size,
        rounds=args.rounds,
        compiles=args.compile,
        device=device,
    )
    return benchmark_detector(plan)


def _frames(args: Any) -> torch.Tensor:
    count = args.num_frames
    if args.video is None:
        g = torch.Generator().manual_seed(0)
        coarse = torch.rand(count, 3, 12, 16, generator=g) * 255
        size = tuple(args.frame_size)
        smooth = torch.nn.functional.interpolate(coarse, size=size, mode="bicubic")
        return smooth.clamp(0, 255).to(torch.uint8)
    try:
        reader = open_video(args.video)
        wanted = torch.linspace(0, reader.num_frames - 1, count).long().unique().tolist()
        return torch.cat([part.frames for part in reader.iterate(wanted, 1)])
    except ItemError as error:
        raise UsageError(f"--video: {error}") from error


def _machine(device: torch.device) -> dict[str, Any]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {
        "device": f"{device.type} {name}".strip(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _processor() -> str:
    """Return the name of the processor, or else its architecture."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


#: Functions that measure and print each benchmark, by name.
BENCHMARKS: dict[str, tuple[Callable[..., dict[str, Any]], Callable[[dict[str, Any]], None]]] = {
    "detector": (_detector, print_detector),
    "relations": (_relations, print_relations),
    "train": (_train, _print_train),
    "selection": (_selection, print_selection),
    "extract": (_extract, print_extraction),
    "cache": (_cache, print_reading),
    "decode": (_decode, print_decoding),
    "predict": (_predict, print_prediction),
}
ALL = "all"
#: Benchmarks of `all`, in the order of the stages.
STAGES_OF_ALL = ("decode", "detector", "relations", "cache", "train", "predict")
#: Benchmarks that run on the CPU only.
ON_CPU = ("train", "selection", "cache", "decode")

if __name__ == "__main__":
    run_command(main)
