"""Images of annotated frames, dumped from the videos if they are missing."""

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from pipeline.datasets.video_files import list_videos
from pipeline.decoding import open_video
from pipeline.errors import ItemError, UsageError
from pipeline.runtime.files import write_atomically
from pipeline.training.detector.samples import Sample

#: Lowest compression level, which is the fastest.
_PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1)
_LARGEST = 4096 * 4096


def dump_frames(
    frames: Path, videos: Path | None, samples: Sequence[Sample], workers: int
) -> dict[str, str]:
    """Dump the missing images of annotated frames. Existing images are not changed.

    Args:
        frames: folder that contains the images `ID.mp4/NNNNNN.png`.
        videos: folder of videos, or None if all images exist.
        samples: annotated frames.
        workers: number of decoding processes.

    Returns:
        Mapping from the id of each unreadable video to its error message.

    Raises:
        UsageError: if images are missing and `videos` is None.
    """
    missing: dict[str, list[int]] = {}
    for sample in samples:
        if not (frames / sample.image).is_file():
            missing.setdefault(sample.video_id, []).append(sample.number)
    if not missing:
        return {}
    if videos is None:
        first = next(iter(missing))
        raise UsageError(
            f"--frames: image not found: {frames / f'{first}.mp4' / f'{missing[first][0]:06d}.png'}"
            f" (and {sum(map(len, missing.values())) - 1} more); set --videos to dump them"
        )
    paths = {video.video_id: video.path for video in list_videos(videos)}
    failures = dict.fromkeys(missing.keys() - paths.keys(), f"{videos}: no video with this id")
    jobs = {v: numbers for v, numbers in missing.items() if v in paths}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max(workers, 1), mp_context=context) as pool:
        started = {
            pool.submit(_dump, paths[v], numbers, frames / f"{v}.mp4"): v
            for v, numbers in jobs.items()
        }
        bar = tqdm(total=len(started), desc="frames", unit="video", disable=None)
        for done in as_completed(started):
            bar.update()
            try:
                done.result()
            except ItemError as error:
                failures[started[done]] = str(error)
    return failures


def _dump(video: Path, numbers: Sequence[int], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    reader = open_video(video, numbering="dump")
    for part in reader.iterate(sorted(n - 1 for n in numbers), 8):
        for image, index in zip(part.frames, part.frame_index.tolist(), strict=True):
            bgr = np.ascontiguousarray(image.permute(1, 2, 0).numpy()[:, :, ::-1])
            _, data = cv2.imencode(".png", bgr, _PNG)
            write_atomically(folder / f"{index + 1:06d}.png", data.tobytes())


def read_image(path: Path) -> Tensor:
    """Read an image as a (3, H, W) uint8 RGB tensor.

    Raises:
        UsageError: if the file is unreadable, is not an image, or has more than 4096 x 4096 pixels.
    """
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    except (OSError, cv2.error) as error:
        raise UsageError(f"{path}: a readable image expected: {error}") from error
    if image is None:
        raise UsageError(
            f"{path}: an image expected, but the file is damaged or not an image; delete it and "
            "dump it again"
        )
    if image.shape[0] * image.shape[1] > _LARGEST:
        raise UsageError(f"{path}: an image of at most {_LARGEST} pixels expected")
    return torch.from_numpy(image[:, :, ::-1].copy()).permute(2, 0, 1)


def find_wide(frames: Path, samples: Sequence[Sample]) -> list[bool]:
    """Return, for each sample, whether the first image of its video is at least as wide as high."""
    wide: dict[str, bool] = {}
    for sample in samples:
        if sample.video_id not in wide:
            _, height, width = read_image(frames / sample.image).shape
            wide[sample.video_id] = width >= height
    return [wide[sample.video_id] for sample in samples]
