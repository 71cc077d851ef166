"""Measurement of time, memory and the matrix rate of a device."""

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
    """Measurements of one variant.

    Attributes:
        seconds: duration of each round in seconds.
        peak_bytes: largest peak of a round above the memory at the start of the round, in bytes.
            None if unknown.
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
    """Measure variants in turn, so that noise affects all of them equally.

    Args:
        variants: functions to measure, by name. Each function runs once before the first round.
        rounds: number of measured rounds.
        device: device on which the variants run.

    Returns:
        Measurements of each variant, by name.
    """
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
    """Print one line per variant.

    Args:
        rows: values of each variant, by name.
        unit: unit of the speed, used as column header.
        speed: format string of the speed column. Its fields are keys of a row.
        gmac: format string of the GMAC column. Its fields are keys of a row.
    """
    print(f"{'':26}{unit:>9} {'ratio':>7} {'GMAC':>8} {'matrix share':>13} {'peak MB':>8}")
    line = f"{{name:26}}{speed} {{ratio:7.2f}} {gmac} {{matrix_share:13.2f}} {{peak:>8}}"
    for name, row in rows.items():
        peak = "-" if row["peak_bytes"] is None else f"{row['peak_bytes'] / 1e6:.0f}"
        print(line.format(name=name, peak=peak, **row))


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class PeakMemory:
    """Context manager that measures peak memory relative to the memory at its start.

    On a GPU, the memory that torch allocates is measured. On a CPU with Linux, the resident memory
    of the process is sampled every 5 ms.

    Attributes:
        peak: peak memory in bytes, or None if unknown.
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
    """Return the GMAC (10^9 multiply-accumulates) of a call's matrix products and convolutions."""
    counter = FlopCounterMode(display=False)
    with counter:
        run()
    return counter.get_total_flops() / 2e9


def matrix_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Measure the throughput of a large matrix multiplication on a device in GMAC/s.

    The multiplication runs six times as a matrix product and six times as a 1 x 1 convolution,
    which is faster on AMD processors. The throughput of the fastest run is returned. The size of
    the matrices doubles from 512 until a multiplication takes 20 ms, because emulated bfloat16 is
    slow; it is at most 2048 on a CPU and 8192 on a GPU.
    """
    size, largest = 512, 8192 if device.type == "cuda" else 2048
    while True:
        seconds = [
            min(_seconds(run, device) for _ in range(6)) for run in _products(size, dtype, device)
        ]
        if size == largest or max(seconds) > 0.02:
            return size**3 / min(seconds) / 1e9
        size *= 2


def _products(
    size: int, dtype: torch.dtype, device: torch.device
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Return the multiplication of two square matrices as a product and as a convolution."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    kernel = a.view(size, size, 1, 1)
    image = b.view(size // 64, size, 8, 8).contiguous(memory_format=torch.channels_last)
    return lambda: a @ b, lambda: conv2d(image, kernel)


def _seconds(run: Callable[[], Any], device: torch.device) -> float:
    synchronize(device)
    start = time.perf_counter()
    run()
    synchronize(device)
    return time.perf_counter() - start
