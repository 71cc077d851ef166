"""COCO average precision of a detector on annotated frames, by pycocotools."""

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from detection.detector import Detector
from pipeline.errors import UsageError
from pipeline.training.detector.frames import read_image
from pipeline.training.detector.samples import Sample

#: COCO's areas, pixels of the decoded frame.
SIZES = ("all", "small", "medium", "large")


def score_detector(
    detector: Detector,
    frames: Path,
    samples: Sequence[Sample],
    classes: Sequence[str],
    device: torch.device,
) -> dict[str, Any]:
    """Run over frames and score.

    Args:
        detector: in eval mode, on `device`.
        frames: folder of `ID.mp4/NNNNNN.png`.
        samples: annotated frames.
        classes: names of the O object classes.
        device: where to work.

    Returns:
        `ap` (IoU 0.50:0.95), `ap50`, `ap75`, `by_size` (small below 32^2, medium below 96^2, large,
        pixels of the frame), `by_class` (name -> ap, ap50, boxes), `frames`, `worst` (frames with
        the lowest F1 at score 0.5 and IoU 0.5). A class without boxes in these frames is left out.
    """
    rows, worst = [], []
    with torch.inference_mode():
        for number, sample in enumerate(tqdm(samples, desc="score", unit="frame", disable=None)):
            image = read_image(frames / sample.image)[None].to(device)
            found = detector.detect(image)[0][0]
            boxes, scores = found.boxes.cpu().double().numpy(), found.scores.cpu().numpy()
            labels = found.labels.cpu().numpy()
            for box, label, score in zip(boxes, labels, scores, strict=True):
                rows.append([number + 1, *_xywh(box), float(score), int(label) + 1])
            sure = scores >= 0.5
            worst.append((_f1(sample, boxes[sure], labels[sure]), sample.image))
    results = coco_scores(samples, np.array(rows, dtype=np.float64).reshape(-1, 7), classes)
    worst.sort()
    return results | {
        "frames": len(samples),
        "worst": [{"image": name, "f1": round(value, 4)} for value, name in worst[:16]],
    }


def coco_scores(
    samples: Sequence[Sample], rows: np.ndarray, classes: Sequence[str]
) -> dict[str, Any]:
    """Scores of detections.

    Args:
        samples: annotated frames; image i + 1 is sample i.
        rows: (N, 7) image, x, y, width, height, score, class + 1.
        classes: names.
    """
    coco, evaluation = _modules()
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco()
        truth.dataset = _truth(samples, classes)
        truth.createIndex()
        guess = coco()
        guess.dataset = _truth(samples, classes) | {
            "annotations": [
                {
                    "id": i + 1,
                    "image_id": int(r[0]),
                    "bbox": [float(v) for v in r[1:5]],
                    "score": float(r[5]),
                    "category_id": int(r[6]),
                    "area": float(r[3] * r[4]),
                    "iscrowd": 0,
                }
                for i, r in enumerate(rows)
            ]
        }
        guess.createIndex()
        run = evaluation(truth, guess, "bbox")
        run.evaluate()
        run.accumulate()
    return _summary(run.eval["precision"], samples, classes)


def _summary(
    precision: np.ndarray, samples: Sequence[Sample], classes: Sequence[str]
) -> dict[str, Any]:
    """From precision (IoU, recall, class, area, max detections); -1 where there is no truth."""
    counts = np.bincount(
        np.concatenate([s.labels[~s.is_crowd].numpy() for s in samples] or [np.zeros(0, int)]),
        minlength=len(classes),
    )
    best = precision[..., -1]
    by_class = {
        name: {
            "ap": _mean(best[:, :, k, 0]),
            "ap50": _mean(best[0, :, k, 0]),
            "boxes": int(counts[k]),
        }
        for k, name in enumerate(classes)
        if counts[k]
    }
    return {
        "ap": _mean(best[..., 0]),
        "ap50": _mean(best[0, ..., 0]),
        "ap75": _mean(best[5, ..., 0]),
        "by_size": {
            size: {"ap": _mean(best[..., i]), "ap50": _mean(best[0, ..., i])}
            for i, size in enumerate(SIZES)
            if i
        },
        "by_class": by_class,
    }


def _mean(values: np.ndarray) -> float | None:
    there = values[values > -1]
    return float(there.mean()) if there.size else None


def _truth(samples: Sequence[Sample], classes: Sequence[str]) -> dict[str, Any]:
    annotations: list[dict[str, Any]] = []
    for number, sample in enumerate(samples):
        for box, label, crowd in zip(
            sample.boxes.double().numpy(),
            sample.labels.tolist(),
            sample.is_crowd.tolist(),
            strict=True,
        ):
            x, y, w, h = _xywh(box)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number + 1,
                    "category_id": label + 1,
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "iscrowd": int(crowd),
                }
            )
    return {
        "info": {},
        "images": [{"id": i + 1} for i in range(len(samples))],
        "annotations": annotations,
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(classes)],
    }


def _xywh(box: np.ndarray) -> tuple[float, float, float, float]:
    return float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])


def _f1(sample: Sample, boxes: np.ndarray, labels: np.ndarray) -> float:
    """Greedy one-to-one matching in the order given, IoU 0.5, same class."""
    left = [
        (box, label)
        for box, label in zip(sample.boxes.numpy(), sample.labels.tolist(), strict=True)
    ]
    total = len(left) + len(boxes)
    hits = 0
    for box, label in zip(boxes, labels.tolist(), strict=True):
        for i, (wanted, of) in enumerate(left):
            if of == label and _iou(box, wanted) >= 0.5:
                hits += 1
                del left[i]
                break
    return 2 * hits / total if total else 1.0


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = float(np.prod(sides.clip(min=0)))
    union = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - shared
    return shared / union if union > 0 else 0.0


def _modules() -> tuple[Any, Any]:
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise UsageError(
            "scores: the package pycocotools expected, it is not installed; pip install pycocotools"
        ) from error
    return COCO, COCOeval
