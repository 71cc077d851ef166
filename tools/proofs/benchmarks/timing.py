"""Clocks, memory, the device's matrix rate."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import conv2d
from torch.utils.flop_counter import FlopCounterMode

_STATM = Path("/proc/self/statm")
_PAGE = 4096


@dataclass
class Measured:
    """Of one variant.

    Attributes:
        seconds: of each round, for all frames.
        peak_bytes: above what was held before, the largest of all rounds; None if unknown.
    """

    seconds: list[float]
    peak_bytes: int | None = None

    @property
    def best_s(self) -> float:
        """Seconds of the fastest round."""
        return min(self.seconds)


def time_rounds(
    variants: dict[str, Callable[[], Any]], rounds: int, device: torch.device
) -> dict[str, Measured]:
    """Run every variant once unmeasured, then in turns, so that noise hits all alike."""
    results = {name: Measured([]) for name in variants}
    for run in variants.values():
        run()
    for _ in range(rounds):
        for name, run in variants.items():
            with PeakMemory(device) as memory:
                results[name].seconds.append(_seconds(run, device))
            if memory.peak is not None:
                results[name].peak_bytes = max(results[name].peak_bytes or 0, memory.peak)
    return results


def print_rows(rows: dict[str, dict[str, Any]], unit: str, speed: str, gmac: str) -> None:
    """A line per variant; `speed` and `gmac` format those entries of a row."""
    print(f"{'':26}{unit:>9} {'ratio':>7} {'GMAC':>8} {'matrix share':>13} {'peak MB':>8}")
    line = f"{{name:26}}{speed} {{ratio:7.2f}} {gmac} {{matrix_share:13.2f}} {{peak:>8}}"
    for name, row in rows.items():
        peak = "-" if row["peak_bytes"] is None else f"{row['peak_bytes'] / 1e6:.0f}"
        print(line.format(name=name, peak=peak, **row))


def synchronize(device: torch.device) -> None:
    """Wait for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class PeakMemory:
    """Largest memory held while the block ran, above that at its start: `peak`, bytes or None.

    On a GPU what torch allocated; on Linux the process's resident pages, looked at every 5 ms.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.peak: int | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "PeakMemory":
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self._before = torch.cuda.memory_allocated(self.device)
        elif _STATM.is_file():
            self._before = self._most = _resident()
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.device.type == "cuda":
            self.peak = torch.cuda.max_memory_allocated(self.device) - self._before
        elif self._thread is not None:
            self._stop.set()
            self._thread.join()
            self._most = max(self._most, _resident())
            self.peak = self._most - self._before

    def _watch(self) -> None:
        while not self._stop.wait(0.005):
            self._most = max(self._most, _resident())


def _resident() -> int:
    return int(_STATM.read_text().split()[1]) * _PAGE


def count_gmac(run: Callable[[], Any]) -> float:
    """Multiply-accumulates of a call, 10^9: matrix products and convolutions alone."""
    counter = FlopCounterMode(display=False)
    with counter:
        run()
    return counter.get_total_flops() / 2e9


def matrix_rate(dtype: torch.dtype, device: torch.device) -> float:
    """GMAC/s of one large matrix product on this device: the best of five tries of two kernels.

    The product is run as such, and as a 1 x 1 convolution, whose library may be the faster one (on
    AMD processors it is).
    """
    size = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    kernel = a.view(size, size, 1, 1)
    image = b.view(size // 64, size, 8, 8).contiguous(memory_format=torch.channels_last)
    kernels: tuple[Callable[[], Any], ...] = (lambda: a @ b, lambda: conv2d(image, kernel))
    return size**3 / min(_seconds(run, device) for run in kernels for _ in range(6)) / 1e9


def _seconds(run: Callable[[], Any], device: torch.device) -> float:
    synchronize(device)
    start = time.perf_counter()
    run()
    synchronize(device)
    return time.perf_counter() - start
