"""Images of samples, dumped from the videos if they are missing."""

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
from pipeline.training.detector.samples import IMAGE_SUFFIXES, Sample

#: Lowest compression level, which is the fastest.
_PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1)
_LARGEST = 4096 * 4096


def find_image(frames: Path, sample: Sample) -> Path | None:
    """Return the path of the image of a sample, or None if it does not exist.

    If the annotated name does not exist, names with another suffix of `IMAGE_SUFFIXES` are tried.
    A dump can therefore contain JPEG files instead of PNG files.

    Args:
        frames: folder that contains the images.
        sample: annotated image.
    """
    path = frames / sample.image
    others = (path.with_suffix(suffix) for suffix in IMAGE_SUFFIXES)
    return next((each for each in (path, *others) if each.is_file()), None)


def dump_frames(
    frames: Path, videos: Path | None, samples: Sequence[Sample], workers: int
) -> dict[str, str]:
    """Dump the missing images of annotated frames. Existing images are not changed.

    Args:
        frames: folder that contains the images, such as `ID.mp4/NNNNNN.png`.
        videos: folder of videos, or None if all images exist.
        samples: annotated images.
        workers: number of decoding processes.

    Returns:
        Mapping from the id of each unreadable video, and from the path of each other missing image,
        to its error message.

    Raises:
        UsageError: if images are missing and `videos` is None.
    """
    absent = [sample for sample in samples if find_image(frames, sample) is None]
    if not absent:
        return {}
    if videos is None:
        advice = "set --videos to dump them" if absent[0].frame else "set --frames to their folder"
        raise UsageError(
            f"--frames: image not found: {frames / absent[0].image} (and {len(absent) - 1} more); "
            f"{advice}"
        )
    missing: dict[str, list[int]] = {}
    for sample in absent:
        if sample.frame is not None:
            missing.setdefault(sample.source, []).append(sample.frame[1])
    paths = {video.video_id: video.path for video in list_videos(videos)}
    failures = dict.fromkeys(missing.keys() - paths.keys(), f"{videos}: no video with this id")
    failures |= {s.image: f"{frames}: image not found" for s in absent if s.frame is None}
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


def load_image(frames: Path, sample: Sample) -> Tensor:
    """Read the image of a sample, see `read_image`.

    Raises:
        UsageError: if the image does not exist, see also `read_image`.
    """
    path = find_image(frames, sample)
    if path is None:
        raise UsageError(f"--frames: image not found: {frames / sample.image}")
    return read_image(path, sample.size)


def read_image(path: Path, size: tuple[int, int] | None = None) -> Tensor:
    """Read an image as a (3, H, W) uint8 RGB tensor.

    The image is turned according to its EXIF data, unless only the stored pixels have the annotated
    size.

    Args:
        path: path of a PNG, JPEG, BMP or WebP file.
        size: annotated (width, height), or None if unknown.

    Raises:
        UsageError: if the file is unreadable, is not an image, has more than 4096 x 4096 pixels, or
            has another size than annotated.
    """
    image = _decode(path, cv2.IMREAD_COLOR)
    if size is not None and image.shape[1::-1] != size:
        found = image.shape[1::-1]
        image = _decode(path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if image.shape[1::-1] != size:
            raise UsageError(
                f"{path}: an image of {size[0]} x {size[1]} pixels expected as annotated, got "
                f"{found[0]} x {found[1]}; use the annotated images"
            )
    return torch.from_numpy(image[:, :, ::-1].copy()).permute(2, 0, 1)


def _decode(path: Path, flags: int) -> np.ndarray:
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
        image = cv2.imdecode(data, flags) if len(data) else None
    except (OSError, cv2.error) as error:
        raise UsageError(f"{path}: a readable image expected: {error}") from error
    if image is None:
        raise UsageError(
            f"{path}: an image expected, but the file is damaged or not an image; delete it and "
            "dump it again"
        )
    if image.shape[0] * image.shape[1] > _LARGEST:
        raise UsageError(f"{path}: an image of at most {_LARGEST} pixels expected")
    return image


def find_wide(frames: Path, samples: Sequence[Sample]) -> list[bool]:
    """Return whether the image of each sample is at least as wide as high.

    Only the first image of a video is read.
    """
    wide: dict[str, bool] = {}
    for sample in samples:
        if sample.source not in wide:
            _, height, width = load_image(frames, sample).shape
            wide[sample.source] = width >= height
    return [wide[sample.source] for sample in samples]
