"""Random numbers of videos, which do not depend on the batch that contains a video."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

#: Constants of the generator splitmix64 (Steele et al. 2014), as signed integers.
_GOLDEN, _FIRST, _SECOND = (
    number - 2**64 for number in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)


class VideoNoise:
    """Uniform random numbers of the videos of a batch.

    A number is a hash of the seed of its video, the number of the call and its place in the array.
    It is therefore the same in every batch, on every device, and for every amount of padding.

    Args:
        seeds: seed of each video, any integer.

    Example:
        >>> import torch
        >>> from model.noise import VideoNoise
        >>> both = VideoNoise(torch.tensor([7, 8])).uniform(4, 3)
        >>> one = VideoNoise(torch.tensor([8])).uniform(2, 3)
        >>> torch.equal(both[1:, :2], one)
        True
    """

    def __init__(self, seeds: Int64[Tensor, "B"]) -> None:
        self.seeds, self._calls = seeds, 0

    @classmethod
    def drawn(cls, num: int, device: torch.device) -> "VideoNoise":
        """Return noise with seeds from the global generator of torch."""
        return cls(torch.randint(2**62, (num,)).to(device))

    def uniform(self, *shape: int) -> Float[Tensor, "B *shape"]:
        """Draw numbers from (0, 1).

        Args:
            shape: shape of the numbers of one video.
        """
        self._calls += 1
        bits = _mix(_mix(self.seeds) + self._calls)
        for size in shape:
            place = torch.arange(1, size + 1, device=bits.device)
            bits = _mix(bits[..., None] + place * _GOLDEN)
        return (_shifted(bits, 41) + 0.5) * 2.0**-23


def _mix(bits: Tensor) -> Tensor:
    bits = (bits ^ _shifted(bits, 30)) * _FIRST
    bits = (bits ^ _shifted(bits, 27)) * _SECOND
    return bits ^ _shifted(bits, 31)


def _shifted(bits: Tensor, by: int) -> Tensor:
    """Shift int64 to the right and fill with zeros instead of the sign."""
    return (bits >> by) & ((1 << (64 - by)) - 1)
