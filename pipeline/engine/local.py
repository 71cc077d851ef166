"""Engine for the devices of this machine, a pipeline of threads and processes.

    examine (a thread) ─▶ decode (processes) ─▶ run (a thread per device) ─▶ store (a thread)

Each arrow is a bounded queue. The memory is therefore independent of the number of videos.
"""

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Generic

from pipeline.decoding import BufferedStream, DecodePool, num_workers
from pipeline.engine.stage import (
    FoundT,
    Outcome,
    ResultT,
    Stage,
    Task,
    Worker,
    examine,
    failed_unless_there,
)
from pipeline.errors import ItemError
from pipeline.runtime.channel import Channel, Stopped
from pipeline.runtime.item_errors import as_item_error

#: Maximum number of results in the queue of the storing thread.
_WAITING_RESULTS = 2


class LocalEngine(Generic[FoundT, ResultT]):
    """Engine that runs a stage with threads and decode processes.

    Its method `run` may be called only once.

    Args:
        stage: the stage.
        workers: worker of each device.
    """

    def __init__(
        self, stage: Stage[FoundT, ResultT], workers: Sequence[Worker[FoundT, ResultT]]
    ) -> None:
        self.stage, self.workers = stage, workers
        self._num_decoders = num_workers(stage.config.decode.workers)
        self._ready: Channel[tuple[FoundT, BufferedStream | None]]
        self._ready = Channel(max(self._num_decoders, 1))
        self._results: Channel[tuple[FoundT, ResultT]] = Channel(_WAITING_RESULTS)
        self._outcomes: queue.SimpleQueue[Outcome | BaseException | None] = queue.SimpleQueue()

    def run(self, tasks: Iterable[Task]) -> Generator[Outcome, None, None]:
        """Process videos and yield an outcome per task in the order of completion.

        Closing the generator early stops all threads and processes.

        Args:
            tasks: the videos.

        Raises:
            UsageError: if a network cannot be built.
        """
        memory_bytes = int(self.stage.config.decode.memory_gb * 1e9)
        with DecodePool(self._num_decoders, memory_bytes) as pool:
            makers = [self._thread(self._examine_all, tasks, pool)]
            makers += [self._thread(self._run_all, worker) for worker in self.workers]
            store = self._thread(self._store_all)
            end = self._thread(self._end_in_order, makers, store)
            try:
                while (outcome := self._outcomes.get()) is not None:
                    if isinstance(outcome, BaseException):
                        raise outcome
                    yield outcome
            finally:
                self._ready.close()
                self._results.close()
                pool.close()
                end.join()

    def _thread(self, work: Callable[..., None], *args: object) -> threading.Thread:
        def guarded() -> None:
            try:
                work(*args)
            except Stopped:
                pass
            except BaseException as error:  # raised again by `run` in the main thread
                self._outcomes.put(error)

        thread = threading.Thread(target=guarded, name=work.__name__)
        thread.start()
        return thread

    def _end_in_order(self, makers: list[threading.Thread], store: threading.Thread) -> None:
        for thread in makers:
            thread.join()
        self._results.finish()
        store.join()
        self._outcomes.put(None)

    def _examine_all(self, tasks: Iterable[Task], pool: DecodePool) -> None:
        for task in tasks:
            found = examine(self.stage, task)
            if isinstance(found, Outcome):
                self._outcomes.put(found)
            else:
                self._ready.put((found, pool.start(found.request) if found.request else None))
        self._ready.finish()

    def _run_all(self, worker: Worker[FoundT, ResultT]) -> None:
        for found, frames in self._ready:
            try:
                with as_item_error(found.task.video_id):
                    result = worker(found, frames)
                self._results.put((found, result))
            except ItemError as error:
                self._outcomes.put(failed_unless_there(self.stage, found, error))
            finally:
                if frames is not None:
                    frames.close()

    def _store_all(self) -> None:
        for found, result in self._results:
            try:
                with as_item_error(found.task.video_id):
                    outcome = self.stage.store(found, result)
            except ItemError as error:
                outcome = failed_unless_there(self.stage, found, error)
            self._outcomes.put(outcome)
