"""Folder of clip features, the vectors of whole videos from a video network.

clip_features.json   properties of all vectors (network, weights, preprocessing, width)
ID.safetensors       vector of one sample, a video or a span of a video
"""

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from pipeline.config.ranges import ranged
from pipeline.config.typed_json import MAX_BYTES, TypedJson, parse_json
from pipeline.datasets.ids import is_safe_id
from pipeline.errors import FailureReason, ItemError, UsageError
from pipeline.runtime.files import json_sha256, make_folder, write_atomically, write_json
from pipeline.runtime.writers import folder_lock

INFO = "clip_features.json"
_COMMAND = "python -m tools.clip_features"


@dataclass(frozen=True)
class ClipFeatureInfo(TypedJson):
    """Properties that all clip features of a folder share, stored in `clip_features.json`.

    Attributes:
        network: name of the video network.
        weights: SHA-256 of the weights file.
        clips: largest number of clips per sample, whose vectors are averaged.
        length: number of frames of a clip.
        rate: frames per second of a clip.
        preprocessing: sizes, mean and standard deviation of the images of the network.
        width: width of the vectors, W.
        backend: video decoder (`decode.backend`).
        fps: frame rate of dumped frames (`decode.fps`), or None.
    """

    SCHEMA: ClassVar[str] = "laiar.clip_features/1"

    network: str
    weights: str
    clips: int = ranged(1, 1)
    length: int = ranged(1, 1)
    rate: float = ranged(1.0, 0, above=True)
    preprocessing: dict[str, Any] = field(default_factory=dict)
    width: int = ranged(1, 1, 65536)
    backend: str = "pyav"
    fps: float | None = None

    def difference(self, other: "ClipFeatureInfo", *, decoder: bool = True) -> str | None:
        """Describe the first property that differs from another folder, or return None.

        Args:
            other: properties of the other folder.
            decoder: whether the decoder counts, besides the network and its input.
        """
        ours, theirs = self.to_dict(), other.to_dict()
        names = [name for name in ours if decoder or name not in ("backend", "fps")]
        for name in names:
            if ours[name] != theirs[name]:
                return f"{name}={_short(ours[name])} expected, got {_short(theirs[name])}"
        return None


@dataclass(frozen=True)
class ClipFeatures:
    """Reader of the clip features of a folder.

    Attributes:
        folder: the folder.
        info: properties of the vectors.
    """

    folder: Path
    info: ClipFeatureInfo

    @classmethod
    def open(cls, folder: Path, setting: str) -> "ClipFeatures":
        """Open a folder.

        Args:
            folder: folder written by `tools.clip_features`.
            setting: name of the setting or flag of the folder, used in error messages.

        Raises:
            UsageError: if the folder has no valid `clip_features.json`.
        """
        path = folder / INFO
        if not path.is_file():
            raise UsageError(
                f"{setting}: {INFO} not found in {folder}. Create the folder with: {_COMMAND} "
                "--videos DIR --out DIR network=NAME weights=FILE"
            )
        try:
            with open(path, "rb") as file:
                tree = parse_json(file.read(MAX_BYTES + 1))
            return cls(folder, ClipFeatureInfo.from_dict(tree))
        except (OSError, ValueError) as error:
            raise UsageError(f"{setting}: {path}: {error}; use another folder") from error

    def fingerprint(self, sample_id: str) -> str | None:
        """Return the fingerprint of the undamaged vector of a sample, or None."""
        try:
            return self._read(sample_id)[0]
        except ItemError:
            return None

    def read(self, sample_id: str) -> Tensor:
        """Read the vector of a sample.

        Args:
            sample_id: id of the video, or of a span of a video.

        Returns:
            (W,) float32 vector.

        Raises:
            ItemError: BAD_CACHE if the file is missing or damaged, belongs to another sample or
                network, or does not contain W finite numbers.
        """
        return self._read(sample_id)[1]

    def _read(self, sample_id: str) -> tuple[str, Tensor]:
        path = feature_path(self.folder, sample_id)
        if not path.is_file():
            problem = f"clip feature not found: {path}; its failure is in failures.jsonl there, or "
            raise _bad(sample_id, f"{problem}the video was not among --videos of {_COMMAND}")
        try:
            with safe_open(path, "pt") as file:
                metadata, part = file.metadata() or {}, file.get_slice("feature")
                found = part.get_dtype(), part.get_shape()
                if found != ("F32", [self.info.width]):
                    raise ValueError(f"({self.info.width},) F32 expected, got {found}")
                feature: Tensor = file.get_tensor("feature")
            wanted = _metadata(sample_id, feature, self.info)
            other = [name for name, value in wanted.items() if metadata.get(name) != value]
            if other:
                raise ValueError(f"the {other[0]} of the vector differs from the one in the header")
            if not bool(torch.isfinite(feature).all()):
                raise ValueError("finite numbers expected, got NaN or infinity")
        except (OSError, SafetensorError, ValueError) as error:
            raise _bad(sample_id, f"{path}: {error}; compute it again with {_COMMAND}") from error
        return metadata.get("fingerprint", ""), feature


def feature_path(folder: Path, sample_id: str) -> Path:
    """Return the path of the vector of a sample."""
    return folder / f"{sample_id}.safetensors"


def store_feature(
    folder: Path, sample_id: str, feature: Tensor, info: ClipFeatureInfo, fingerprint: str
) -> None:
    """Write the vector of a sample.

    Args:
        folder: output folder.
        sample_id: id of the video, or of a span of a video.
        feature: (W,) float32 vector.
        info: properties of the vectors of the folder.
        fingerprint: SHA-256 over everything that determines the vector.

    Raises:
        ItemError: INTERNAL_ERROR if the vector is not finite.
        OSError: if the file cannot be written.
    """
    if not bool(torch.isfinite(feature).all()):
        raise ItemError(
            FailureReason.INTERNAL_ERROR,
            f"{sample_id}: a finite clip feature expected, got NaN or infinity; check the weights",
        )
    metadata = _metadata(sample_id, feature, info) | {"fingerprint": fingerprint}
    write_atomically(feature_path(folder, sample_id), save({"feature": feature}, metadata))


def check_folder(folder: Path, info: ClipFeatureInfo) -> None:
    """Check that a folder contains no vectors, or vectors with the same properties.

    Raises:
        UsageError: if the vectors have other properties, or the folder has vectors but no
            `clip_features.json`.
    """
    if not (folder / INFO).is_file():
        if folder.is_dir() and next(folder.glob("*.safetensors"), None):
            raise UsageError(f"--out: {folder} has tensors but no {INFO}; use an empty folder")
        return
    difference = ClipFeatures.open(folder, "--out").info.difference(info)
    if difference:
        raise UsageError(
            f"--out: {folder} contains other clip features: {difference}; use another --out, or "
            "the settings of this folder"
        )


def open_folder(folder: Path, info: ClipFeatureInfo) -> None:
    """Create a folder of clip features, or check an existing one, see `check_folder`.

    Raises:
        UsageError: if the folder is not writable, or contains other vectors.
    """
    make_folder(folder, "--out")
    if not os.access(folder, os.W_OK):
        raise UsageError(f"--out: a writable folder expected, {folder} is read-only")
    with folder_lock(folder):
        check_folder(folder, info)
        if not (folder / INFO).is_file():
            write_json(folder / INFO, info.to_dict())


def _metadata(sample_id: str, feature: Tensor, info: ClipFeatureInfo) -> dict[str, str]:
    """Return the header of a vector, without its fingerprint."""
    digest = hashlib.sha256(feature.numpy().tobytes()).hexdigest()
    return {"id": sample_id, "info": json_sha256(info.to_dict()), "sha256": digest}


def _bad(sample_id: str, problem: str) -> ItemError:
    shown = sample_id if is_safe_id(sample_id) else repr(sample_id[:128])
    return ItemError(FailureReason.BAD_CACHE, f"{shown}: {problem}")


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
