"""Clip features of the videos of a folder: one vector per video from a video network."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.cache.clip_features import ClipFeatureInfo, ClipFeatures, store_feature
from pipeline.config.ranges import one_of, ranged
from pipeline.config.schema import Dataset, DecodeConfig
from pipeline.datasets import ClipAnnotation
from pipeline.decoding import FrameRequest, FrameStream
from pipeline.decoding.sampling import ClipSampling
from pipeline.engine.stage import Examined, Outcome, Task, Worker
from pipeline.errors import FailureReason, ItemError, UsageError
from pipeline.extraction.clip import decode_options
from pipeline.runtime.files import json_sha256
from pipeline.weights.loading import BUILDING
from pipeline.weights.video_networks import NETWORKS, VideoNetworkFile, load_video_network

#: Frames per batch of the decoder.
_BATCH = 16


@dataclass
class ClipFeatureConfig:
    """Settings of `tools.clip_features`."""

    #: Video network of torchvision.
    network: str = one_of("r3d_18", NETWORKS)
    #: Path of its weights, a safetensors file or a file of `torch.save`.
    weights: str | None = None
    #: Largest number of evenly spaced clips of a video, whose vectors are averaged.
    clips: int = ranged(10, 1, 1000)
    #: Dataset whose annotation files are read, for its spans.
    dataset: Dataset = Dataset.charades
    #: Name of the vocabulary of the dataset.
    vocabulary: str = "action_genome"
    #: Devices, such as `auto`, `cpu` or `cuda:0,cuda:1`.
    device: str = "auto"
    #: Largest number of failed videos; a command with more failures stops with exit code 3.
    max_failures: int | None = ranged(None, 0)
    decode: DecodeConfig = field(default_factory=DecodeConfig)

    def check(self) -> None:
        """Raise UsageError if a setting is not supported."""
        self.decode.check()
        if self.decode.tolerant:
            raise UsageError(
                "decode.tolerant=false expected, because a clip requires all of its frames"
            )


@dataclass(frozen=True)
class ClipFeatureSteps:
    """Stage that computes clip features, see `pipeline.engine.stage.Stage`.

    Attributes:
        config: settings of the command.
        folder: output folder.
        network: weights file of the video network.
    """

    config: ClipFeatureConfig
    folder: Path
    network: VideoNetworkFile

    @property
    def info(self) -> ClipFeatureInfo:
        """Properties of the vectors."""
        recipe, decode = self.network.recipe, self.config.decode
        return ClipFeatureInfo(
            network=self.network.name,
            weights=self.network.sha256,
            clips=self.config.clips,
            length=recipe.length,
            rate=recipe.rate,
            preprocessing=recipe.preprocessing(),
            width=self.network.width,
            backend=decode.backend.value,
            fps=decode.fps,
        )

    def failure_fingerprint(
        self, annotation: ClipAnnotation | None, bad: str | None, expected_sha256: str | None
    ) -> str:
        """Return the SHA-256 over everything that determines a failure, except the video file."""
        decode = self.config.decode
        limits = [decode.max_pixels, decode.max_frames, decode.timeout_s, decode.memory_gb]
        return json_sha256([self._fingerprint(annotation, ""), limits, bad, expected_sha256])

    def is_done(self, task: Task, sha256: str) -> bool:
        """Return whether the vector of a video exists."""
        found = ClipFeatures(self.folder, self.info).fingerprint(task.video_id)
        return found == self._fingerprint(task.annotation, sha256)

    def prepare(self, task: Task, sha256: str) -> Examined:
        """Prepare the request for the frames of all clips of a video."""
        known, (first, last) = task.annotation, _span(task.annotation)
        recipe = self.network.recipe
        request = FrameRequest(
            path=task.video.path,
            sha256=sha256,
            options=decode_options(self.config.decode),
            numbering="presentation" if last is None else "dump",
            batch_size=_BATCH,
            length_s=known.length_s if known else None,
            clips=ClipSampling(self.config.clips, recipe.length, recipe.rate, first, last),
        )
        return Examined(task, sha256, self._fingerprint(known, sha256), request)

    def worker(self, device: torch.device) -> Worker[Examined, Tensor]:
        """Return the function that computes the vectors of videos on a device."""
        with BUILDING:
            network = load_video_network(self.network, device)
        recipe = self.network.recipe

        def prepare(images: Tensor) -> Tensor:
            return recipe.preprocess(images.to(device))

        def run(found: Examined, frames: FrameStream | None) -> Tensor:
            assert frames is not None
            assert found.request is not None
            assert found.request.clips is not None
            vectors = [
                _vector(network, clip) for clip in _clips(found.request.clips, frames, prepare)
            ]
            return torch.stack(vectors).mean(0).cpu()

        return run

    def store(self, found: Examined, result: Tensor) -> Outcome:
        """Write the vector of a video."""
        store_feature(self.folder, found.task.video_id, result, self.info, found.fingerprint)
        return found.task.outcome("done", found.sha256)

    def failed(self, task: Task, error: ItemError, sha256: str = "") -> Outcome:
        """Return the outcome of a video that raised an error."""
        return task.outcome("failed", sha256, error)

    def _fingerprint(self, annotation: ClipAnnotation | None, sha256: str) -> str:
        length_s = annotation.length_s if annotation else None
        return json_sha256([sha256, self.info.to_dict(), _span(annotation), length_s])


def _span(annotation: ClipAnnotation | None) -> tuple[int, int | None]:
    """Return the first and the last frame of a sample; None for the last frame of the video."""
    if annotation is None or not annotation.spans:
        return 0, None
    return annotation.spans[0].first, annotation.spans[0].last


def _clips(
    sampling: ClipSampling, frames: FrameStream, preprocess: Callable[[Tensor], Tensor]
) -> Iterator[Tensor]:
    """Yield the (3, L, h, w) clips of a video. Only the frames of one clip are in memory."""
    images: dict[int, Tensor] = {}
    waiting: list[list[int]] | None = None
    for batch in frames:
        if waiting is None:
            waiting = sampling.clips(batch.source.num_frames, batch.source.fps)
        shown = preprocess(batch.frames)
        images |= zip(batch.frame_index.tolist(), shown.unbind(1), strict=True)
        while waiting and waiting[0][-1] in images:
            yield torch.stack([images[index] for index in waiting.pop(0)], 1)
            first = waiting[0][0] if waiting else math.inf
            images = {index: image for index, image in images.items() if index >= first}
    if waiting is None or waiting:
        raise ItemError(FailureReason.NO_FRAMES, "all frames of each clip expected, got fewer")


def _vector(network: nn.Module, clip: Tensor) -> Tensor:
    """Return the (W,) float32 pooled features of a (3, L, h, w) clip."""
    with torch.inference_mode():
        pooled: Tensor = network(clip[None])
    return pooled[0].float()
