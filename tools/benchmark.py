"""`python -m tools.benchmark NAME`: speeds that are ratios within one run."""

import platform
from pathlib import Path
from typing import Any

import torch

from detection.resnet import STAGES
from pipeline.decoding import open_video
from pipeline.errors import ItemError, UsageError
from pipeline.runtime.command_line import EXIT_OK, common_parser, parse_words, run_command
from pipeline.runtime.devices import pick_device
from pipeline.runtime.files import write_json
from relations.settings import PredictorSettings
from tools.proofs.benchmarks.cache_reading import ReadingPlan, benchmark_reading, print_reading
from tools.proofs.benchmarks.detector import Plan, benchmark_detector
from tools.proofs.benchmarks.extraction import (
    ExtractionPlan,
    benchmark_extraction,
    print_extraction,
)
from tools.proofs.benchmarks.relations import RelationPlan, benchmark_relations, print_relations
from tools.proofs.benchmarks.training import TrainingPlan, benchmark_training, print_training

EXAMPLE = "python -m tools.benchmark detector --num-frames 10 --rounds 3"


def main(argv: list[str]) -> int:
    """Run a benchmark; returns the exit code."""
    parser = common_parser("python -m tools.benchmark", __doc__ or "", EXAMPLE, has_settings=False)
    parser.add_argument("name", choices=["detector", "relations", "train", "extract", "cache"])
    parser.add_argument("--video", type=Path, help="frames of this video (default: smooth noise)")
    parser.add_argument("--num-frames", type=int, default=10, help="of a video, for relations")
    parser.add_argument("--num-videos", type=int, default=4, help="for relations, train, cache")
    parser.add_argument(
        "--max-pairs", type=int, default=6, help="in a frame, for relations and cache"
    )
    parser.add_argument("--frame-size", type=int, nargs=2, default=(480, 640), metavar=("H", "W"))
    parser.add_argument("--short-side", type=int, default=600)
    parser.add_argument("--depth", type=int, default=101)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 128, 256], help="for train")
    parser.add_argument("--batch-size", type=int, help="of ours (default: 1, on a GPU 16)")
    parser.add_argument("--videos", type=Path, help="folder, for extract")
    parser.add_argument("--preset", help="of the detector, for extract")
    parser.add_argument("--proposals", type=int, help="of the detector, for extract")
    parser.add_argument("--decode-workers", type=int, help="for extract")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compile", action="store_true", help="also measure the compiled trunk")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, help="also write the results here")
    args, words = parse_words(parser, argv)
    if words:
        raise UsageError(f"no key=value settings expected, got {words[0]!r}")
    if args.depth not in STAGES:
        raise UsageError(f"--depth: one of {', '.join(map(str, STAGES))} expected")
    if (
        min(
            args.num_videos,
            args.max_pairs,
            args.num_frames,
            args.rounds,
            args.width,
            args.short_side,
            *args.frame_size,
            *args.widths,
        )
        < 1
    ):
        raise UsageError("--num-frames, --rounds, --width, ...: numbers from 1 on expected")
    if args.batch_size is not None and args.batch_size < 1:
        raise UsageError(f"--batch-size: at least 1 expected, got {args.batch_size}")
    if args.json and not args.json.resolve().parent.is_dir():
        raise UsageError(f"--json: a file in a folder that is there expected, got {args.json}")
    device = pick_device(args.device)
    run = {
        "relations": _relations,
        "train": _train,
        "extract": _extract,
        "cache": _cache,
        "detector": _detector,
    }
    result = run[args.name](args, device)
    if args.json:
        write_json(args.json, result)
    return EXIT_OK


def _relations(args: Any, device: torch.device) -> dict[str, Any]:
    settings = PredictorSettings()
    plan = RelationPlan(
        args.num_videos, args.num_frames, args.max_pairs, settings, args.rounds, device
    )
    result = benchmark_relations(plan) | {"machine": _machine(device), "seed": plan.seed}
    _print_machine(result)
    print_relations(result)
    return result


def _train(args: Any, _device: torch.device) -> dict[str, Any]:
    numbers = tuple(sorted({1, torch.get_num_threads()}))
    plan = TrainingPlan(tuple(args.widths), args.num_videos, numbers, args.rounds)
    machine = _machine(torch.device("cpu"))
    result = benchmark_training(plan) | {"machine": machine, "seed": plan.seed}
    _print_machine(result)
    print_training(result)
    return result


def _extract(args: Any, device: torch.device) -> dict[str, Any]:
    if args.videos is None:
        raise UsageError("--videos: a folder of videos expected with extract")
    settings = {
        "detection.preset": args.preset,
        "detection.proposals": args.proposals,
        "detection.depth": args.depth,
        "detection.width": args.width,
        "detection.short_side": args.short_side,
        "detection.batch_size": args.batch_size or (16 if device.type == "cuda" else 1),
        "decode.workers": args.decode_workers,
    }
    words = tuple(f"{key}={value}" for key, value in settings.items() if value is not None)
    plan = ExtractionPlan(args.videos, args.num_frames, words, args.rounds, device)
    result = benchmark_extraction(plan) | {"machine": _machine(device), "settings": settings}
    _print_machine(result)
    print(" ".join(words))
    print_extraction(result)
    return result


def _cache(args: Any, device: torch.device) -> dict[str, Any]:
    plan = ReadingPlan(args.num_videos, 40, 16, args.max_pairs, args.rounds)
    result = benchmark_reading(plan) | {"machine": _machine(device), "seed": plan.seed}
    _print_machine(result)
    print_reading(result)
    return result


def _detector(args: Any, device: torch.device) -> dict[str, Any]:
    plan = Plan(
        _frames(args),
        depth=args.depth,
        width=args.width,
        short_side=args.short_side,
        batch_size=args.batch_size or (16 if device.type == "cuda" else 1),
        rounds=args.rounds,
        compiles=args.compile,
        device=device,
    )
    result = benchmark_detector(plan) | {"machine": _machine(device), "seed": plan.seed}
    _print(result)
    return result


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
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    return {
        "device": f"{device.type} {name or platform.machine()}".strip(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def _print_machine(result: dict[str, Any]) -> None:
    machine = result["machine"]
    print(f"{machine['device']}, {machine['threads']} threads, torch {machine['torch']}")


def _print(result: dict[str, Any]) -> None:
    _print_machine(result)
    print(f"frames {tuple(result['frames'])}; the best round counts\n")
    print(f"{'':26}{'frames/s':>9} {'ratio':>7} {'GMAC':>8} {'matrix share':>13} {'peak MB':>8}")
    for name, row in result["rows"].items():
        peak = "-" if row["peak_bytes"] is None else f"{row['peak_bytes'] / 1e6:.0f}"
        print(
            f"{name:26}{row['frames_per_s']:9.3f} {row['ratio']:7.2f} {row['gmac_per_frame']:8.1f} "
            f"{row['matrix_share']:13.2f} {peak:>8}"
        )
    for mode, stages in result["stages"].items():
        print(f"\n{mode}, by stage: ms and GMAC per frame, share of the matrix rate")
        rate = result["matrix_gmac_per_s"]["bfloat16" if mode == "fast" else "float32"]
        for name, row in stages.items():
            share = row["gmac_per_frame"] / row["ms_per_frame"] * 1e3 / rate
            ms, gmac = row["ms_per_frame"], row["gmac_per_frame"]
            print(f"  {name:12}{ms:9.1f} {gmac:8.1f} {share:8.2f}")
    print()
    for mode, loss in result["against_exact"].items():
        print(
            f"{mode} against exact: box features differ by {100 * loss['feature_error']:.4f} % "
            f"(relative L2, same boxes); {100 * loss['boxes_kept']:.1f} % of "
            f"{loss['exact_boxes']} boxes found again at IoU > 0.9 ({loss['fast_boxes']} found), "
            f"scores within {loss['score_error']:.5f}"
        )
    rates = ", ".join(f"{k} {v:.0f}" for k, v in result["matrix_gmac_per_s"].items())
    print(f"matrix product, GMAC/s: {rates}")


if __name__ == "__main__":
    run_command(main)
