"""All videos on a Ray cluster: actors that hold the networks, one video per call.

An actor that dies, or is ended because its video takes too long, costs that video alone: another
takes its place, and nothing is tried twice on its own. The actor writes the clip and returns a few
hundred bytes.
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

from pipeline.cache.manifest import Manifest
from pipeline.decoding import DecodePool, num_workers
from pipeline.errors import FailureReason, ItemError, UsageError
from pipeline.extraction.steps import Networks, Outcome, Steps, Task
from pipeline.runtime.item_errors import as_item_error
from pipeline.runtime.writers import Writer

LOGGER = logging.getLogger(__name__)
ROOT = Path(__file__).resolve().parent.parent.parent
#: Time to start, besides the limit of a video, seconds.
_START_S = 60.0
_FATAL = (FailureReason.WORKER_DIED, FailureReason.TIME_LIMIT, FailureReason.OUT_OF_MEMORY)
_CLOSE_S = 30.0
#: Longest wait before deadlines are looked at again, seconds.
_POLL_S = 1.0
_AGAIN = "try it again with --retry-failed"

Work = Callable[[Task], Outcome]


class OneByOne:
    """Does all steps of one video after another on one device."""

    def __init__(self, steps: Steps, device: torch.device) -> None:
        self.steps = steps
        self._networks = Networks(steps, device)
        self._manifest = Manifest(steps.cache)
        decode = steps.config.decode
        self._pool = DecodePool(min(num_workers(decode.workers), 1), int(decode.memory_gb * 1e9))
        # As long as the process lives: its end, however it comes, is the end of the writer.
        self._writer = Writer(steps.cache).__enter__()

    def __call__(self, task: Task) -> Outcome:
        """Extract a video; UsageError if a network cannot be built."""
        found = self.steps.examine(task, self._manifest)
        if isinstance(found, Outcome):
            return found
        frames = self._pool.start(found.request) if found.request else None
        try:
            with as_item_error(task.video_id):
                return self.steps.store(found, self._networks.extract(found, frames))
        except ItemError as error:
            return self.steps.failed_unless_there(found, error)
        finally:
            if frames is not None:
                frames.close()

    def close(self) -> None:
        """End the decoding, and no longer count as a writer."""
        self._pool.close()
        self._writer.__exit__()


class RayEngine:
    """Extracts videos with Ray actors.

    Args:
        steps: what the videos have in common; its paths must be those of every machine.
        address: of a running cluster, `auto` for the one of this machine; None starts one.
        actors: how many; None as many as the cluster has GPUs, or times our threads on its CPUs.
        time_limit_s: for one video.
        make: makes what an actor does with a task.
    """

    def __init__(
        self,
        steps: Steps,
        *,
        address: str | None = None,
        actors: int | None = None,
        time_limit_s: float = 3600.0,
        make: Callable[[Steps], Work] | None = None,
    ) -> None:
        self.steps = replace(steps, cache=steps.cache.absolute())
        self.address, self.actors, self.time_limit_s = address, actors, time_limit_s
        self._make = make or make_one_by_one
        self._ray = import_ray()

    def run(self, tasks: Iterable[Task]) -> Generator[Outcome, None, None]:
        """One outcome per task as they come; leaving the iteration early ends all work.

        Args:
            tasks: videos whose paths mean the same on every machine.

        Raises:
            UsageError: if there is no cluster, no room for an actor, or no network can be built.
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
                address=self.address,
                log_to_driver=False,
                include_dashboard=False if self.address is None else None,
                runtime_env={"env_vars": environment},
                logging_level=logging.ERROR,
            )
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            raise UsageError(
                f"--address: a Ray cluster expected, {self.address or 'a new one'}: {error}"
            ) from error
        for number, handler in ours.items():  # Ray puts its own in their place
            signal.signal(number, handler)

    def _plan_actors(self) -> tuple[Callable[[], Any], int]:
        """What starts an actor, and how many to start."""
        name, threads = self.steps.config.device, torch.get_num_threads()
        resources = self._ray.cluster_resources()
        if name == "auto":
            name = "cuda" if resources.get("GPU", 0) >= 1 else "cpu"
        on_gpu = name.startswith("cuda")
        room = int(resources.get("GPU", 0) if on_gpu else resources.get("CPU", 0) // threads)
        count = self.actors or max(room, 0 if on_gpu else 1)
        if count < 1 or (on_gpu and not room):
            raise UsageError(f"device: {name} asked for, but the Ray cluster has no GPU")
        # More actors than fit share what there is.
        share = min(1.0, room / count) if room else 0.0
        needs = {"num_gpus": share} if on_gpu else {"num_cpus": threads * share}
        remote = self._ray.remote(Actor).options(
            max_restarts=0, max_task_retries=0, **({"num_cpus": 0} | needs)
        )
        LOGGER.info("%d actors on %s", count, name)
        return partial(remote.remote, self._make, self.steps, os.getcwd(), name, threads), count

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
                    # A call to an actor that Ray is about to restart would be lost with it.
                    self._ray.kill(actor)
                    actor = start()
                idle.append(actor)
                yield outcome
        # Those who end in order are no writers any more when the manifest is settled.
        self._ray.wait([a.close.remote() for a in idle], num_returns=len(idle), timeout=_CLOSE_S)

    def _check_alive(self, actor: Any) -> None:
        """UsageError if an actor cannot be started: then none can."""
        try:
            self._ray.get(actor.ready.remote())
        except self._ray.exceptions.RayError as error:
            raise UsageError(
                "--engine ray: an actor cannot be started; does every machine have this folder, "
                f"{ROOT}, and its environment? {str(error).strip().splitlines()[-1]}"
            ) from error

    def _ended(self, running: dict[Any, tuple[Any, Task, float]]) -> list[tuple[Any, Outcome]]:
        """Calls that returned, died, or took too long, with how their videos ended."""
        if not running:
            return []
        calls, _ = self._ray.wait(list(running), num_returns=1, timeout=_POLL_S)
        ended = [(call, self._outcome(call, running[call][1])) for call in calls]
        for call, (_, task, deadline) in running.items():
            if call not in calls and time.monotonic() > deadline:
                ended.append((call, self.steps.failed(task, _too_long(task, self.time_limit_s))))
        return ended

    def _outcome(self, call: Any, task: Task) -> Outcome:
        errors = self._ray.exceptions
        try:
            return self._ray.get(call)
        except errors.RayTaskError as error:
            if isinstance(error.cause, UsageError):
                raise UsageError(str(error.cause)) from error
            problem = f"{task.video_id}: {type(error.cause).__name__}: {error.cause}"
            return self.steps.failed(task, ItemError(FailureReason.INTERNAL_ERROR, problem))
        except errors.OutOfMemoryError:
            reason, problem = FailureReason.OUT_OF_MEMORY, "it took more memory than there is"
        except errors.RayError as error:
            reason = FailureReason.WORKER_DIED
            problem = " ".join(str(error).split())[:300] or type(error).__name__
        problem = f"{task.video_id}: the actor that extracted it died: {problem}; {_AGAIN}"
        return self.steps.failed(task, ItemError(reason, problem))


class Actor:
    """What runs in a Ray worker process."""

    def __init__(
        self, make: Callable[[Steps], Work], steps: Steps, folder: str, device: str, threads: int
    ) -> None:
        # Relative paths of settings count from where the command was given.
        if os.path.isdir(folder):
            os.chdir(folder)
        # As many as in-process: sums over other numbers of threads differ in the last bits.
        torch.set_num_threads(threads)
        steps.config.device = device
        self._work = make(steps)

    def ready(self) -> None:
        """Return, to tell that the actor lives."""

    def close(self) -> None:
        """End the work."""
        if isinstance(self._work, OneByOne):
            self._work.close()

    def run(self, task: Task) -> Outcome:
        """One video."""
        return self._work(task)


def make_one_by_one(steps: Steps) -> Work:
    """The work of an actor: whole videos on its device."""
    device = torch.device("cuda" if steps.config.device.startswith("cuda") else "cpu")
    return OneByOne(steps, device)


def import_ray() -> Any:
    """The package ray; UsageError if it is not installed."""
    os.environ.setdefault("RAY_TQDM_PATCH_PRINT", "0")  # leave the builtin print alone
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # report to nobody
    try:
        import ray
    except ImportError as error:
        raise UsageError(
            "--engine ray: the package ray expected, it is not installed; pip install ray, or use "
            "--engine local"
        ) from error
    return ray


def _too_long(task: Task, seconds: float) -> ItemError:
    return ItemError(
        FailureReason.TIME_LIMIT,
        f"{task.video_id}: an end within {seconds:g} s expected, its actor was ended; raise "
        f"--time-limit and {_AGAIN}",
    )
