"""Speed of the detector, compared with STTran's implementation and torchvision's Faster R-CNN."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import box_iou

from detection.build import NetworkSize, build_detector, seed_weights
from detection.detections import Detections
from detection.detector import Detector
from detection.fast import make_fast
from relations.boxes import union_boxes
from tools.proofs.benchmarks.original_loop import detect_as_original
from tools.proofs.benchmarks.timing import (
    Measured,
    count_gmac,
    matrix_rate,
    print_rows,
    synchronize,
    time_rounds,
)

NUM_CLASSES = 36


@dataclass(frozen=True)
class Plan:
    """Settings of the measurement.

    Attributes:
        frames: (T, 3, H, W) uint8.
        depth, width: sizes of the ResNet.
        short_side: shorter side of the resized frames in pixels.
        batch_size: frames per call of our detector. STTran's implementation uses ten.
        rounds: number of measured rounds.
        compiles: whether the compiled backbone is measured as well.
        device: device of the detectors.
        seed: seed of the weights.
    """

    frames: Tensor
    depth: int
    width: int
    short_side: int
    batch_size: int
    rounds: int
    compiles: bool
    device: torch.device
    seed: int = 0


def benchmark_detector(plan: Plan) -> dict[str, Any]:
    """Measure the detector in all modes.

    Args:
        plan: settings of the measurement.

    Returns:
        JSON tree with one row per variant, the time of every stage, and the differences of the
        other modes from the exact mode.
    """
    frames = plan.frames.to(plan.device)
    exact, fast = _build(plan), make_fast(_build(plan))
    folded = make_fast(_build(plan), dtype=torch.float32)
    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    rates = {name: matrix_rate(dtype, plan.device) for name, dtype in dtypes.items()}
    # Emulated bfloat16 is slow, so only one frame is measured.
    few = frames if rates["bfloat16"] > rates["float32"] else frames[:1]
    variants: dict[str, Callable[[], Any]] = {
        "original formulation": lambda: detect_as_original(exact, frames),
        "ours, exact": lambda: run_ours(exact, frames, plan.batch_size),
        "ours, folded": lambda: run_ours(folded, frames, plan.batch_size),
        "ours, fast": lambda: run_ours(fast, few, plan.batch_size),
    }
    if plan.compiles:
        slow = make_fast(_build(plan), dtype=torch.float32, compile_trunk=True)
        quick = make_fast(_build(plan), compile_trunk=True)
        variants["ours, folded, compiled"] = lambda: run_ours(slow, frames, plan.batch_size)
        variants["ours, fast, compiled"] = lambda: run_ours(quick, few, plan.batch_size)
    stock = _stock(plan)
    parts = [list(part) for part in (frames.float() / 255).split(plan.batch_size)]
    variants["torchvision R-FPN"] = lambda: [stock(part) for part in parts]
    given = _given_boxes(frames)
    variants["ours, exact, given boxes"] = lambda: run_given(exact, frames, given)
    with torch.inference_mode():
        gmac = {name: count_gmac(run) for name, run in variants.items() if "compiled" not in name}
        gmac |= {f"{name}, compiled": gmac[name] for name in ("ours, folded", "ours, fast")}
        timed = time_rounds(variants, plan.rounds, plan.device)
        kinds = {"exact": (exact, frames), "folded": (folded, frames), "fast": (fast, few)}
        stages = {
            kind: stage_table(detector, images[: plan.batch_size], plan)
            for kind, (detector, images) in kinds.items()
        }
        loss = {k: accuracy_loss(exact, *kinds[k], plan.batch_size) for k in ("folded", "fast")}
    return {
        "frames": list(frames.shape),
        "rows": _rows(timed, gmac, rates, {n: len(few if "fast" in n else frames) for n in timed}),
        "stages": stages,
        "against_exact": loss,
        "matrix_gmac_per_s": rates,
        "seed": plan.seed,
    }


def _rows(
    timed: dict[str, Measured],
    gmac: dict[str, float],
    rates: dict[str, float],
    counts: dict[str, int],
) -> dict[str, dict[str, Any]]:
    """Return one table row per variant. `counts` is the number of frames of each variant."""
    best = {name: measured.best_s / counts[name] for name, measured in timed.items()}
    rows = {}
    for name, measured in timed.items():
        rate = rates["bfloat16" if "fast" in name else "float32"]
        rows[name] = {
            "frames_per_s": 1 / best[name],
            "ratio": best["original formulation"] / best[name],
            "gmac_per_frame": gmac[name] / counts[name],
            "matrix_share": gmac[name] / counts[name] / best[name] / rate,
            "frames": counts[name],
            "peak_bytes": measured.peak_bytes,
            "rounds_s": measured.seconds,
        }
    return rows


def print_detector(result: dict[str, Any]) -> None:
    """Print the tables."""
    print(f"frames {tuple(result['frames'])}; fastest round\n")
    print_rows(result["rows"], "frames/s", "{frames_per_s:9.3f}", "{gmac_per_frame:8.1f}")
    for mode, stages in result["stages"].items():
        print(f"\n{mode}, by stage: ms per frame, GMAC per frame, share of the matrix rate")
        rate = result["matrix_gmac_per_s"]["bfloat16" if mode == "fast" else "float32"]
        for name, row in stages.items():
            share = row["gmac_per_frame"] / row["ms_per_frame"] * 1e3 / rate
            ms, gmac = row["ms_per_frame"], row["gmac_per_frame"]
            print(f"  {name:12}{ms:9.1f} {gmac:8.1f} {share:8.2f}")
    print()
    for mode, loss in result["against_exact"].items():
        print(
            f"{mode}, compared with exact: the features of the same boxes differ by "
            f"{100 * loss['feature_error']:.4f} % (relative L2); {100 * loss['boxes_kept']:.1f} % "
            f"of {loss['exact_boxes']} exact boxes match one of {loss['fast_boxes']} boxes at "
            f"IoU > 0.9; the scores of matched boxes differ by at most {loss['score_error']:.5f}"
        )
    rates = ", ".join(f"{k} {v:.0f}" for k, v in result["matrix_gmac_per_s"].items())
    print(f"matrix multiplication, GMAC/s: {rates}")


def run_ours(detector: Detector, frames: Tensor, batch_size: int) -> list[Detections]:
    """Detect boxes and compute box and union features, as extraction does."""
    results = []
    for part in frames.split(batch_size):
        found, maps = detector.detect(part)
        unions = [union_boxes(d.boxes[:1].expand(len(d), 4), d.boxes)[1:] for d in found]
        detector.pool_union(maps, unions)
        results += found
    return results


def run_given(detector: Detector, frames: Tensor, given: list[Tensor]) -> None:
    """Compute box and union features of provided boxes, as extraction does."""
    for t, boxes in enumerate(given):
        labels = torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
        _, maps = detector.describe(frames[t : t + 1], [boxes], [labels])
        detector.pool_union(maps, [union_boxes(boxes[:1].expand(len(boxes), 4), boxes)[1:]])


def stage_table(detector: Detector, frames: Tensor, plan: Plan) -> dict[str, dict[str, float]]:
    """Measure the milliseconds and GMAC per frame of the backbone, proposals and box heads."""
    maps = detector.feature_maps(frames)
    sizes = [maps.size] * len(frames)
    proposals = detector.rpn(maps.levels, maps.padded_size, sizes)
    head = detector.roi_head
    stages: dict[str, Callable[[], Any]] = {
        "trunk": lambda: detector.feature_maps(frames),
        "proposals": lambda: detector.rpn(maps.levels, maps.padded_size, sizes),
        "box heads": lambda: head.features(head.pool(maps.levels, proposals)),
    }
    timed = time_rounds(stages, max(plan.rounds, 2), plan.device)
    synchronize(plan.device)
    return {
        name: {
            "ms_per_frame": timed[name].best_s / len(frames) * 1e3,
            "gmac_per_frame": count_gmac(run) / len(frames),
        }
        for name, run in stages.items()
    }


def accuracy_loss(
    exact: Detector, fast: Detector, frames: Tensor, batch_size: int
) -> dict[str, float]:
    """Compare the detections of two modes.

    Args:
        exact: detector in the exact mode.
        fast: the same detector in another mode.
        frames: (T, 3, H, W) uint8.
        batch_size: frames per call.

    Returns:
        A dict with these keys:

        - `feature_error`: relative L2 error of the features of the same boxes.
        - `boxes_kept`: share of the exact boxes that match a box of `fast` with the same class and
          an IoU above 0.9.
        - `score_error`: largest difference between the scores of matched boxes.
        - `exact_boxes`, `fast_boxes`: numbers of boxes.
    """
    a, b = run_ours(exact, frames, batch_size), run_ours(fast, frames, batch_size)
    kept, score, squares, total = 0, 0.0, 0.0, 0.0
    for t, (one, other) in enumerate(zip(a, b, strict=True)):
        frame = frames[t : t + 1]
        wanted = exact.describe(frame, [one.boxes], [one.labels])[0][0].features
        got = fast.describe(frame, [one.boxes], [one.labels])[0][0].features
        squares += float((got - wanted).square().sum())
        total += float(wanted.square().sum())
        if not len(one) or not len(other):
            continue
        overlap = box_iou(one.boxes, other.boxes) * (one.labels[:, None] == other.labels[None])
        best, row = overlap.max(1)
        good = best > 0.9
        kept += int(good.sum())
        if bool(good.any()):
            score = max(score, float((one.scores - other.scores[row])[good].abs().max()))
    count = sum(len(d) for d in a)
    return {
        "feature_error": (squares / total) ** 0.5 if total else 0.0,
        "boxes_kept": kept / count if count else 1.0,
        "score_error": score,
        "exact_boxes": count,
        "fast_boxes": sum(len(d) for d in b),
    }


def _build(plan: Plan) -> Detector:
    size = NetworkSize(depth=plan.depth, width=plan.width)
    detector = build_detector(num_classes=NUM_CLASSES, size=size, short_side=plan.short_side)
    seed_weights(detector, plan.seed)
    return detector.requires_grad_(False).to(plan.device)


def _stock(plan: Plan) -> FasterRCNN:
    depth = plan.depth if plan.depth in (50, 101, 152) else 50
    backbone = resnet_fpn_backbone(backbone_name=f"resnet{depth}", weights=None)
    side = plan.short_side
    model = FasterRCNN(backbone, NUM_CLASSES + 1, min_size=side, max_size=4 * side)
    return model.eval().requires_grad_(False).to(plan.device)


def _given_boxes(frames: Tensor) -> list[Tensor]:
    """Return five boxes per frame, the usual maximum in Action Genome."""
    height, width = frames.shape[-2:]
    box = torch.tensor([[0.1, 0.1, 0.6, 0.9], [0.4, 0.5, 0.7, 0.8], [0.0, 0.6, 1.0, 1.0],
                        [0.6, 0.1, 0.9, 0.6], [0.3, 0.3, 0.5, 0.5]])  # fmt: skip
    scaled = box * torch.tensor([width, height, width, height], dtype=torch.float32)
    return [scaled.to(frames.device) for _ in range(len(frames))]
