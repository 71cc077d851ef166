"""ResNet backbones of a Faster R-CNN, built from torchvision's bottleneck blocks."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from detection.presets import Preset

#: Number of bottleneck blocks per stage, by depth. Depth 26 is a small network for CPUs.
STAGES = {26: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def build_stage(
    channels: int, planes: int, *, blocks: int, stride: int, stride_on_conv1: bool
) -> nn.Sequential:
    """Build one stage of a ResNet.

    Args:
        channels: number of input channels.
        planes: number of channels of the 3x3 convolutions. The stage has 4 * `planes` output
            channels.
        blocks: number of bottleneck blocks.
        stride: stride of the first block.
        stride_on_conv1: if True, the stride belongs to the first 1x1 convolution instead of the
            3x3 convolution.
    """
    downsample = nn.Sequential(
        nn.Conv2d(channels, 4 * planes, 1, stride, bias=False), nn.BatchNorm2d(4 * planes)
    )
    first = Bottleneck(channels, planes, stride, downsample)
    if stride_on_conv1:
        first.conv1.stride, first.conv2.stride = first.conv2.stride, first.conv1.stride
    rest = [Bottleneck(4 * planes, planes) for _ in range(blocks - 1)]
    return nn.Sequential(first, *rest)


class Trunk(nn.Module):
    """Stem and first stages of a ResNet.

    Args:
        blocks: number of bottleneck blocks of each stage. The backbone of a C4 network has
            three stages.
        width: number of channels of the stem. Stage i, counted from 1, has width * 2 ** (i + 1)
            output channels.
        preset: conventions for the position of the stride and the padding of the stem.
    """

    def __init__(self, blocks: Sequence[int], width: int, *, preset: Preset) -> None:
        super().__init__()
        padding = preset.stem_padding
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, padding, ceil_mode=padding == 0)
        channels = width
        for index, count in enumerate(blocks):
            planes = width * 2**index
            stage = build_stage(
                channels,
                planes,
                blocks=count,
                stride=1 if index == 0 else 2,
                stride_on_conv1=preset.stride_on_conv1,
            )
            setattr(self, f"layer{index + 1}", stage)
            channels = 4 * planes
        self.num_stages = len(blocks)

    def stage(self, number: int) -> nn.Sequential:
        """Return the stage with the given number, from 1 to 4."""
        stage = getattr(self, f"layer{number}")
        assert isinstance(stage, nn.Sequential)
        return stage

    def stage_maps(self, images: Float[Tensor, "T 3 h w"]) -> list[Tensor]:
        """Return the output of every stage. The strides are 4, 8, 16 and so on."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images.to(self.conv1.weight.dtype)))))
        maps = []
        for number in range(1, self.num_stages + 1):
            x = self.stage(number)(x)
            maps.append(x)
        return maps

    def forward(self, images: Float[Tensor, "T 3 h w"]) -> tuple[Tensor, ...]:
        """Return the map of the last stage as the only level."""
        return (self.stage_maps(images)[-1],)


class PyramidTrunk(nn.Module):
    """ResNet with a feature pyramid (Lin et al., CVPR 2017) of the levels P2 to P6.

    Args:
        blocks: number of bottleneck blocks of each stage. There are four stages.
        width: number of channels of the stem.
        channels: number of channels of every level.
        preset: see `Trunk`.
    """

    def __init__(self, blocks: Sequence[int], width: int, channels: int, *, preset: Preset) -> None:
        super().__init__()
        self.body = Trunk(blocks, width, preset=preset)
        widths = [4 * width * 2**index for index in range(len(blocks))]
        self.fpn = FeaturePyramidNetwork(widths, channels, LastLevelMaxPool())

    def forward(self, images: Float[Tensor, "T 3 h w"]) -> tuple[Tensor, ...]:
        """Return the levels with strides 4, 8, 16, 32 and 64."""
        maps = self.body.stage_maps(images)
        return tuple(self.fpn({str(i): m for i, m in enumerate(maps)}).values())
