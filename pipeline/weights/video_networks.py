"""Video networks of torchvision with weights, whose pooled features describe a clip."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import WeightsEnum, get_model, video

from pipeline.errors import UsageError
from pipeline.runtime.files import file_sha256
from pipeline.weights.cards import read_tensors
from pipeline.weights.checkpoints import read_checkpoint
from pipeline.weights.files import find_weights
from pipeline.weights.loading import build_with_weights, load_state

SETTING = "weights"
_HOW_TO = "download the weights of the network from torchvision, or train it, and set weights=FILE"
_SUFFIXES = (".safetensors", ".pth", ".pt", ".tar")


@dataclass(frozen=True)
class Recipe:
    """Input of a video network, as in the evaluation of torchvision's weights.

    Attributes:
        weights: torchvision's weights. Only their preprocessing is used.
        head: name of the classifier in the network.
        layer: name of the last layer in the classifier, or empty if the classifier is that layer.
        length: number of frames of a clip.
        rate: frames per second of a clip.
    """

    weights: WeightsEnum
    head: str
    layer: str
    length: int
    rate: float

    def preprocess(self, frames: Tensor) -> Tensor:
        """Resize, crop and normalise images, as torchvision's weights require.

        Args:
            frames: (T, 3, H, W) uint8 RGB images.

        Returns:
            (3, T, h, w) float32.
        """
        clip: Tensor = self.weights.transforms()(frames)
        return clip

    def preprocessing(self) -> dict[str, Any]:
        """Return the sizes and numbers of the preprocessing as JSON."""
        made = self.weights.transforms()
        names = ("resize_size", "crop_size", "mean", "std")
        values = {name: list(getattr(made, name)) for name in names}
        return values | {"interpolation": made.interpolation.value}


def _resnet(weights: WeightsEnum) -> Recipe:
    return Recipe(weights, "fc", "", 16, 15.0)


#: Lengths and frame rates of the clips are those of the reported accuracies:
#: https://pytorch.org/vision/stable/models.html#video-classification
NETWORKS: dict[str, Recipe] = {
    "r3d_18": _resnet(video.R3D_18_Weights.KINETICS400_V1),
    "mc3_18": _resnet(video.MC3_18_Weights.KINETICS400_V1),
    "r2plus1d_18": _resnet(video.R2Plus1D_18_Weights.KINETICS400_V1),
    "s3d": Recipe(video.S3D_Weights.KINETICS400_V1, "classifier", "1", 128, 15.0),
    "mvit_v1_b": Recipe(video.MViT_V1_B_Weights.KINETICS400_V1, "head", "1", 16, 7.5),
    "mvit_v2_s": Recipe(video.MViT_V2_S_Weights.KINETICS400_V1, "head", "1", 16, 7.5),
    "swin3d_t": Recipe(video.Swin3D_T_Weights.KINETICS400_V1, "head", "", 32, 15.0),
    "swin3d_s": Recipe(video.Swin3D_S_Weights.KINETICS400_V1, "head", "", 32, 15.0),
    "swin3d_b": Recipe(video.Swin3D_B_Weights.KINETICS400_V1, "head", "", 32, 15.0),
}


@dataclass(frozen=True)
class VideoNetworkFile:
    """Checked weights file of a video network.

    Attributes:
        path: path of the weights file.
        name: name of the network, a key of `NETWORKS`.
        sha256: SHA-256 of the weights file.
        width: width of the pooled features, W.
    """

    path: Path
    name: str
    sha256: str
    width: int

    @property
    def recipe(self) -> Recipe:
        """Input of the network."""
        return NETWORKS[self.name]


def find_video_network(name: str, weights: str | None) -> VideoNetworkFile:
    """Find the weights of a network and check them, without building the network.

    Args:
        name: key of `NETWORKS`.
        weights: path of the weights, a safetensors file or a file of `torch.save`.

    Raises:
        UsageError: if the file is missing or damaged, or its tensors do not fit the network. The
            message contains the name of the first such tensor.
    """
    if not weights:
        raise UsageError(f"{SETTING}: not set; {_HOW_TO}")
    path = find_weights(weights, setting=SETTING, how_to=_HOW_TO, suffixes=_SUFFIXES)
    state, recipe = _read(path), NETWORKS[name]
    try:
        with torch.device("meta"):
            network = _build(name, state)
            load_state(network, state, only_check=True)
    except ValueError as error:
        raise UsageError(f"{SETTING}: {path}: weights of {name} expected: {error}") from error
    width = _last_layer(network, recipe).weight.shape[1]
    return VideoNetworkFile(path, name, file_sha256(path), width)


def load_video_network(file: VideoNetworkFile, device: torch.device | str) -> nn.Module:
    """Build a network with its weights, in eval mode.

    Args:
        file: weights file of the network.
        device: device of the parameters.

    Returns:
        A network that maps (B, 3, T, h, w) float32 clips to their (B, W) pooled features, the input
        of its last layer.

    Raises:
        UsageError: if the weights changed and do not fit the network any more.
    """
    state = _read(file.path)
    try:
        network = build_with_weights(lambda: _build(file.name, state), state)
    except ValueError as error:
        raise UsageError(f"{SETTING}: {file.path}: {error}") from error
    setattr(network, file.recipe.head, nn.Identity())
    return network.eval().requires_grad_(False).to(device)


def _build(name: str, state: Mapping[str, Tensor]) -> nn.Module:
    """Build a network with as many classes as the weights."""
    recipe = NETWORKS[name]
    last = ".".join(filter(None, (recipe.head, recipe.layer, "weight")))
    classes = state[last].shape[0] if last in state and state[last].ndim else 400
    network: nn.Module = get_model(name, weights=None, num_classes=classes)
    return network


def _last_layer(network: nn.Module, recipe: Recipe) -> nn.Linear | nn.Conv3d:
    layer = network.get_submodule(".".join(filter(None, (recipe.head, recipe.layer))))
    assert isinstance(layer, nn.Linear | nn.Conv3d)
    return layer


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return read_tensors(path, SETTING)
    return read_checkpoint(path)
