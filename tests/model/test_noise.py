import torch

from model.noise import VideoNoise


def splitmix64(state: int) -> int:
    """Plain arithmetic of the output function of splitmix64 (Steele et al. 2014)."""
    mask = 2**64 - 1
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
    return state ^ (state >> 31)


def test_numbers_equal_plain_arithmetic() -> None:
    seeds, golden = [3, 2**62 + 5], 0x9E3779B97F4A7C15
    noise = VideoNoise(torch.tensor(seeds))
    for call in (1, 2):
        found = noise.uniform(2, 3)
        for b, seed in enumerate(seeds):
            first = splitmix64((splitmix64(seed) + call) % 2**64)
            for i in range(2):
                row = splitmix64((first + (i + 1) * golden) % 2**64)
                for j in range(3):
                    bits = splitmix64((row + (j + 1) * golden) % 2**64)
                    assert float(found[b, i, j]) == ((bits >> 41) + 0.5) / 2**23


def test_numbers_are_uniform_and_independent() -> None:
    noise = VideoNoise(torch.arange(2000))
    first, second = noise.uniform(8, 5), noise.uniform(8, 5)
    counts = torch.histc(first, 10, 0, 1) / first.numel()
    assert float((counts - 0.1).abs().max()) < 0.005
    rows = torch.cat([first.flatten(1), second.flatten(1)], 1).T
    between = torch.corrcoef(rows).fill_diagonal_(0.0).abs().max()
    assert float(between) < 0.12  # 5 standard deviations of 1 / sqrt(2000)
    assert 0 < float(first.min()) < float(first.max()) < 1


def test_numbers_do_not_depend_on_the_batch_or_on_padding() -> None:
    seeds = torch.tensor([5, 11, 7])
    whole = VideoNoise(seeds).uniform(6, 4)
    assert torch.equal(VideoNoise(seeds[1:2]).uniform(3, 2), whole[1:2, :3, :2])
