"""COCO average precision of a detector on annotated frames, with pycocotools."""

import contextlib
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from tqdm import tqdm

from detection.detector import Detector
from pipeline.training.detector.frames import load_image
from pipeline.training.detector.samples import Sample

#: Size classes of COCO, based on the box area in pixels of the decoded frame.
SIZES = ("all", "small", "medium", "large")


def score_detector(
    detector: Detector,
    frames: Path,
    samples: Sequence[Sample],
    classes: Sequence[str],
    device: torch.device,
) -> dict[str, Any]:
    """Run a detector over annotated frames and compute its COCO average precision.

    Args:
        detector: detector in eval mode on `device`.
        frames: folder that contains the images, such as `ID.mp4/NNNNNN.png`.
        samples: annotated frames.
        classes: names of the object classes.
        device: device of the detector.

    Returns:
        A dict with the following entries. `ap` (IoU 0.50:0.95), `ap50` and `ap75` are average
        precisions. `by_size` contains `ap` and `ap50` of boxes whose area in pixels is small (below
        32^2), medium (below 96^2) or large. `by_class` contains `ap`, `ap50` and the number of
        `boxes` of each class that has boxes in these frames. `frames` is the number of frames.
        `worst` lists the 16 frames with the lowest F1 at score 0.5 and IoU 0.5.
    """
    rows, worst = [], []
    with torch.inference_mode():
        for number, sample in enumerate(tqdm(samples, desc="score", unit="frame", disable=None)):
            image = load_image(frames, sample)[None].to(device)
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
    """Compute the COCO average precision of detections.

    Args:
        samples: annotated frames. Sample i is image i + 1.
        rows: (N, 7) float64 detections. The columns are image, x, y, width, height, score and
            class + 1.
        classes: names of the object classes.

    Returns:
        `ap`, `ap50`, `ap75`, `by_size` and `by_class` of `score_detector`.
    """
    guesses = [
        _annotation(int(r[0]), r[1:5], int(r[6]), id=i, score=float(r[5]), iscrowd=0)
        for i, r in enumerate(rows, 1)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth, guess = COCO(), COCO()
        truth.dataset = _truth(samples, classes)
        truth.createIndex()
        guess.dataset = truth.dataset | {"annotations": guesses}
        guess.createIndex()
        run = COCOeval(truth, guess, "bbox")
        run.evaluate()
        run.accumulate()
    return _summary(run.eval["precision"], samples, classes)


def _summary(
    precision: np.ndarray, samples: Sequence[Sample], classes: Sequence[str]
) -> dict[str, Any]:
    """Average the precisions of `COCOeval`.

    The axes of `precision` are IoU, recall, class, area and maximum number of detections. An entry
    is -1 if there are no annotated boxes.
    """
    counts = np.bincount(
        np.concatenate([s.labels[~s.is_crowd].numpy() for s in samples] or [np.zeros(0, int)]),
        minlength=len(classes),
    )
    best = precision[..., -1]
    return _both(best[..., 0]) | {
        "ap75": _mean(best[5, ..., 0]),
        "by_size": {size: _both(best[..., i]) for i, size in enumerate(SIZES) if i},
        "by_class": {
            name: _both(best[:, :, k, 0]) | {"boxes": int(counts[k])}
            for k, name in enumerate(classes)
            if counts[k]
        },
    }


def _both(values: np.ndarray) -> dict[str, Any]:
    """Return the AP and the AP at IoU 0.5 (the first row)."""
    return {"ap": _mean(values), "ap50": _mean(values[0])}


def _mean(values: np.ndarray) -> float | None:
    there = values[values > -1]
    return float(there.mean()) if there.size else None


def _truth(samples: Sequence[Sample], classes: Sequence[str]) -> dict[str, Any]:
    annotations: list[dict[str, Any]] = []
    for image, sample in enumerate(samples, 1):
        arrays = (sample.boxes.double().numpy(), sample.labels.tolist(), sample.is_crowd.tolist())
        for box, label, crowd in zip(*arrays, strict=True):
            more = {"id": len(annotations) + 1, "iscrowd": int(crowd)}
            annotations.append(_annotation(image, _xywh(box), label + 1, **more))
    return {
        "info": {},
        "images": [{"id": i + 1} for i in range(len(samples))],
        "annotations": annotations,
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(classes)],
    }


def _annotation(image: int, xywh: Iterable[float], category: int, **more: float) -> dict[str, Any]:
    x, y, w, h = map(float, xywh)
    box = {"bbox": [x, y, w, h], "area": w * h}
    return {"image_id": image, "category_id": category} | box | more


def _xywh(box: np.ndarray) -> tuple[float, float, float, float]:
    return float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])


def _f1(sample: Sample, boxes: np.ndarray, labels: np.ndarray) -> float:
    """Return the F1 of a greedy one-to-one matching of the boxes (IoU 0.5, same class)."""
    left = list(zip(sample.boxes.numpy(), sample.labels.tolist(), strict=True))
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
