from collections.abc import Iterator

import pytest
import torch

from pipeline.errors import UsageError
from pipeline.runtime.devices import ONE_THREAD_WIDTH, pick_device, pick_devices, use_threads

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_narrow_networks_use_one_thread() -> None:
    torch.set_num_threads(3)
    assert use_threads(None, ONE_THREAD_WIDTH + 1, CPU) == 3
    assert use_threads(None, ONE_THREAD_WIDTH, torch.device("meta")) == 3
    assert use_threads(2, ONE_THREAD_WIDTH, CPU) == 2
    assert use_threads(None, ONE_THREAD_WIDTH, CPU) == torch.get_num_threads() == 1


def test_pick_device_accepts_only_known_and_available_devices() -> None:
    assert pick_devices("cpu, cpu") == [torch.device("cpu")] * 2
    for name in ("teapot", "mps", "cuda:x"):
        with pytest.raises(UsageError, match=f"auto, cpu or cuda.* got '{name}'"):
            pick_device(name)
    if not torch.cuda.is_available():
        assert pick_device("auto") == torch.device("cpu")
        with pytest.raises(UsageError, match="use device=cpu"):
            pick_device("cuda")
