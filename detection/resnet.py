"""ResNet bottleneck stages in the arrangement of a Faster R-CNN C4, from torchvision's blocks."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

#: Depth -> bottleneck blocks per stage; 26 is a small one for CPUs.
STAGES = {26: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def build_stage(
    channels: int, planes: int, *, blocks: int, stride: int, stride_on_conv1: bool
) -> nn.Sequential:
    """One stage: `blocks` bottlenecks from `channels` to 4 * `planes` channels."""
    downsample = nn.Sequential(
        nn.Conv2d(channels, 4 * planes, 1, stride, bias=False), nn.BatchNorm2d(4 * planes)
    )
    first = Bottleneck(channels, planes, stride, downsample)
    if stride_on_conv1:
        first.conv1.stride, first.conv2.stride = first.conv2.stride, first.conv1.stride
    rest = [Bottleneck(4 * planes, planes) for _ in range(blocks - 1)]
    return nn.Sequential(first, *rest)


class Trunk(nn.Module):
    """Stem and stages 1 to 3: images to the C4 map of stride 16.

    Args:
        blocks: bottlenecks of the three stages.
        width: channels of the stem; the map has 16 times as many.
        stride_on_conv1: see `Preset`.
        stem_padding: see `Preset`.
    """

    def __init__(
        self, blocks: Sequence[int], width: int, *, stride_on_conv1: bool, stem_padding: int
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, stem_padding, ceil_mode=stem_padding == 0)
        stages = []
        channels = width
        for index, count in enumerate(blocks[:3]):
            planes = width * 2**index
            stride = 1 if index == 0 else 2
            stages.append(
                build_stage(
                    channels,
                    planes,
                    blocks=count,
                    stride=stride,
                    stride_on_conv1=stride_on_conv1,
                )
            )
            channels = 4 * planes
        self.layer1, self.layer2, self.layer3 = stages

    def forward(self, images: Float[Tensor, "T 3 h w"]) -> Float[Tensor, "T Cu h16 w16"]:
        """C4 map."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        return self.layer3(self.layer2(self.layer1(x)))
