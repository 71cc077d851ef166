"""Engine for a Ray cluster.

Each actor loads the networks and processes one video per call. If an actor dies or exceeds the time
limit, only its video fails, and a new actor replaces it. A failed video is not retried
automatically. The actors write the results. They return only a few kilobytes per video.
"""

import logging
import os
import signal
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from pipeline.decoding import DecodePool, num_workers
from pipeline.engine.stage import (
    Outcome,
    Stage,
    Task,
    examine,
    failed_unless_there,
)
from pipeline.errors import FailureReason, ItemError, UsageError
from pipeline.runtime.item_errors import as_item_error
from pipeline.runtime.writers import Writer

LOGGER = logging.getLogger(__name__)
ROOT = Path(__file__).resolve().parent.parent.parent
#: Time in seconds to start an actor. It is added to the time limit of a video.
_START_S = 60.0
_FATAL = (FailureReason.WORKER_DIED, FailureReason.TIME_LIMIT, FailureReason.OUT_OF_MEMORY)
_CLOSE_S = 30.0
#: Interval in seconds between checks of the time limits.
_POLL_S = 1.0
_AGAIN = "retry with --retry-failed"


class OneByOne:
    """Worker that runs all steps of one video at a time on one device.

    Args:
        stage: the stage.
        device: device of the networks.
    """

    def __init__(self, stage: Stage[Any, Any], device: torch.device) -> None:
        self.stage = stage
        self._worker = stage.worker(device)
        decode = stage.config.decode
        self._pool = DecodePool(min(num_workers(decode.workers), 1), int(decode.memory_gb * 1e9))
        # The process is registered as a writer until `close` is called or the process ends.
        self._writer = Writer(stage.folder).__enter__()

    def __call__(self, task: Task) -> Outcome:
        """Process a video.

        Raises:
            UsageError: if a network cannot be built.
        """
        found = examine(self.stage, task)
        if isinstance(found, Outcome):
            return found
        frames = self._pool.start(found.request) if found.request else None
        try:
            with as_item_error(task.video_id):
                return self.stage.store(found, self._worker(found, frames))
        except ItemError as error:
            return failed_unless_there(self.stage, found, error)
        finally:
            if frames is not None:
                frames.close()

    def close(self) -> None:
        """Stop the decode process and unregister the writer."""
        self._pool.close()
        self._writer.__exit__()


class RayEngine:
    """Engine that runs a stage with Ray actors.

    Args:
        stage: the stage. Its paths must be absolute and valid on every machine.
        address: address of a running cluster, or `auto` for the cluster of this machine. If None, a
            new cluster is started.
        actors: number of actors. Default: the number of GPUs in the cluster. Without GPUs, the
            number of CPUs in the cluster, divided by `torch.get_num_threads()`.
        time_limit_s: time limit of a video, in seconds.

    Raises:
        UsageError: if the package ray is not installed.
    """

    def __init__(
        self,
        stage: Stage[Any, Any],
        *,
        address: str | None = None,
        actors: int | None = None,
        time_limit_s: float = 3600.0,
    ) -> None:
        self.stage = stage
        self.address, self.actors, self.time_limit_s = address, actors, time_limit_s
        self._ray = import_ray()

    def run(self, tasks: Iterable[Task]) -> Generator[Outcome, None, None]:
        """Process videos and yield an outcome per task in the order of completion.

        Closing the generator early stops all actors.

        Args:
            tasks: the videos. Their paths must be valid on every machine.

        Raises:
            UsageError: if the cluster cannot be reached or lacks a required GPU, an actor cannot be
                started, or a network cannot be built.
        """
        self._connect()
        try:
            start, count = self._plan_actors()
            yield from self._drive(start, count, iter(tasks))
        finally:
            self._ray.shutdown()

    def _connect(self) -> None:
        ours = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(torch.get_num_threads())}
        try:
            self._ray.init(
                # Without "local", Ray would join any cluster of this machine.
                address=self.address or "local",
                log_to_driver=False,
                include_dashboard=False if self.address is None else None,
                runtime_env={"env_vars": environment},
                logging_level=logging.ERROR,
            )
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            raise UsageError(
                f"--address: cannot connect to {self.address or 'a new Ray cluster'}: {error}"
            ) from error
        for number, handler in ours.items():  # Ray installs its own handlers
            signal.signal(number, handler)

    def _plan_actors(self) -> tuple[Callable[[], Any], int]:
        """Return a function that starts an actor, and the number of actors."""
        name, threads = self.stage.config.device, torch.get_num_threads()
        resources = self._ray.cluster_resources()
        if name == "auto":
            name = "cuda" if resources.get("GPU", 0) >= 1 else "cpu"
        on_gpu = name.startswith("cuda")
        room = int(resources.get("GPU", 0) if on_gpu else resources.get("CPU", 0) // threads)
        count = self.actors or max(room, 0 if on_gpu else 1)
        if count < 1 or (on_gpu and not room):
            raise UsageError(
                f"device={name}: a Ray cluster with a GPU expected, got a cluster without GPUs"
            )
        # If the actors need more resources than the cluster has, each gets a fraction.
        share = min(1.0, room / count) if room else 0.0
        needs = {"num_gpus": share} if on_gpu else {"num_cpus": threads * share}
        remote = self._ray.remote(Actor).options(
            max_restarts=0, max_task_retries=0, **({"num_cpus": 0} | needs)
        )
        LOGGER.info("%d actors on %s", count, name)
        return partial(remote.remote, self.stage, os.getcwd(), name, threads), count

    def _drive(
        self, start: Callable[[], Any], count: int, tasks: Iterator[Task]
    ) -> Iterator[Outcome]:
        running: dict[Any, tuple[Any, Task, float]] = {}
        idle = [start()]
        self._check_alive(idle[0])
        idle += [start() for _ in range(count - 1)]
        is_more = True
        while is_more or running:
            while is_more and idle:
                task = next(tasks, None)
                if task is None:
                    is_more = False
                    break
                actor = idle.pop()
                video = replace(task.video, path=task.video.path.absolute())
                call = actor.run.remote(replace(task, video=video))
                running[call] = actor, task, time.monotonic() + self.time_limit_s + _START_S
            for call, outcome in self._ended(running):
                actor, _, _ = running.pop(call)
                if outcome.error is not None and outcome.error.reason in _FATAL:
                    # Calls to an actor that Ray is about to restart would be lost.
                    self._ray.kill(actor)
                    actor = start()
                idle.append(actor)
                yield outcome
        # Close the actors, so that they are unregistered as writers before the driver ends.
        self._ray.wait([a.close.remote() for a in idle], num_returns=len(idle), timeout=_CLOSE_S)

    def _check_alive(self, actor: Any) -> None:
        """Raise UsageError if an actor cannot be started."""
        try:
            self._ray.get(actor.ready.remote())
        except self._ray.exceptions.RayError as error:
            raise UsageError(
                "--engine ray: cannot start an actor. Every machine needs this folder, "
                f"{ROOT}, and its environment. Error: {str(error).strip().splitlines()[-1]}"
            ) from error

    def _ended(self, running: dict[Any, tuple[Any, Task, float]]) -> list[tuple[Any, Outcome]]:
        """Return the calls that have returned, failed or timed out, with their outcomes."""
        if not running:
            return []
        calls, _ = self._ray.wait(list(running), num_returns=1, timeout=_POLL_S)
        ended = [(call, self._outcome(call, running[call][1])) for call in calls]
        for call, (_, task, deadline) in running.items():
            if call not in calls and time.monotonic() > deadline:
                ended.append((call, self.stage.failed(task, _too_long(task, self.time_limit_s))))
        return ended

    def _outcome(self, call: Any, task: Task) -> Outcome:
        errors = self._ray.exceptions
        try:
            outcome: Outcome = self._ray.get(call)
            return outcome
        except errors.RayTaskError as error:
            if isinstance(error.cause, UsageError):
                raise UsageError(str(error.cause)) from error
            problem = f"{task.video_id}: {type(error.cause).__name__}: {error.cause}"
            return self.stage.failed(task, ItemError(FailureReason.INTERNAL_ERROR, problem))
        except errors.OutOfMemoryError:
            reason, problem = FailureReason.OUT_OF_MEMORY, "out of memory"
        except errors.RayError as error:
            reason = FailureReason.WORKER_DIED
            problem = " ".join(str(error).split())[:300] or type(error).__name__
        problem = f"{task.video_id}: the actor that processed this video died: {problem}; {_AGAIN}"
        return self.stage.failed(task, ItemError(reason, problem))


class Actor:
    """Actor that runs in a Ray worker process.

    Args:
        stage: the stage.
        folder: working folder of the command.
        device: name of the device.
        threads: number of torch threads.
    """

    def __init__(self, stage: Stage[Any, Any], folder: str, device: str, threads: int) -> None:
        # Relative paths in settings refer to the working folder of the command.
        if os.path.isdir(folder):
            os.chdir(folder)
        # Use as many threads as the command, because the number of threads affects rounding.
        torch.set_num_threads(threads)
        stage.config.device = device
        self._worker = OneByOne(stage, torch.device("cuda" if "cuda" in device else "cpu"))

    def ready(self) -> None:
        """Do nothing. The call succeeds if the actor has started."""

    def close(self) -> None:
        """Close the worker."""
        self._worker.close()

    def run(self, task: Task) -> Outcome:
        """Process one video."""
        return self._worker(task)


def import_ray() -> Any:
    """Import the package ray.

    Raises:
        UsageError: if the package is not installed.
    """
    os.environ.setdefault("RAY_TQDM_PATCH_PRINT", "0")  # do not replace the builtin print
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # send no usage statistics
    try:
        import ray
    except ImportError as error:
        raise UsageError(
            "--engine ray: the package ray is not installed. Run pip install ray, or use "
            "--engine local"
        ) from error
    return ray


def _too_long(task: Task, seconds: float) -> ItemError:
    return ItemError(
        FailureReason.TIME_LIMIT,
        f"{task.video_id}: not finished within {seconds:g} s; the actor was killed; raise "
        f"--time-limit and {_AGAIN}",
    )
