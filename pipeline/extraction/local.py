"""Extraction on the devices of this machine, as a pipeline of threads and processes.

    examine (a thread) ─▶ decode (processes) ─▶ extract (a thread per device) ─▶ store (a thread)

Each arrow is a bounded queue. The memory is therefore independent of the number of videos.
"""

import queue
import threading
from collections.abc import Callable, Generator, Iterable

from pipeline.cache.clip import CachedClip
from pipeline.cache.manifest import Manifest
from pipeline.decoding import BufferedStream, DecodePool, num_workers
from pipeline.errors import ItemError
from pipeline.extraction.steps import Examined, Networks, Outcome, Steps, Task
from pipeline.runtime.channel import Channel, Stopped
from pipeline.runtime.item_errors import as_item_error

#: Maximum number of clips in the queue of the storing thread.
_WAITING_CLIPS = 2


class LocalEngine:
    """Engine that extracts videos with threads and decode processes.

    Its method `run` may be called only once.

    Args:
        steps: steps of the extraction.
        networks: networks of each device.
    """

    def __init__(self, steps: Steps, networks: list[Networks]) -> None:
        self.steps, self.networks = steps, networks
        self._workers = num_workers(steps.config.decode.workers)
        self._ready: Channel[tuple[Examined, BufferedStream | None]]
        self._ready = Channel(max(self._workers, 1))
        self._clips: Channel[tuple[Examined, CachedClip]] = Channel(_WAITING_CLIPS)
        self._outcomes: queue.SimpleQueue[Outcome | BaseException | None] = queue.SimpleQueue()

    def run(self, tasks: Iterable[Task]) -> Generator[Outcome, None, None]:
        """Extract videos and yield an outcome per task in the order of completion.

        Closing the generator early stops all threads and processes.

        Args:
            tasks: videos to extract.

        Raises:
            UsageError: if a network cannot be built.
        """
        with DecodePool(self._workers, int(self.steps.config.decode.memory_gb * 1e9)) as pool:
            examine = self._thread(lambda: self._examine_all(tasks, pool))
            extract = [self._thread(self._extract_all, each) for each in self.networks]
            store = self._thread(self._store_all)
            end = self._thread(self._end_in_order, [examine, *extract], store)
            try:
                while (outcome := self._outcomes.get()) is not None:
                    if isinstance(outcome, BaseException):
                        raise outcome
                    yield outcome
            finally:
                self._ready.close()
                self._clips.close()
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

        thread = threading.Thread(target=guarded, name=getattr(work, "__name__", "extract"))
        thread.start()
        return thread

    def _end_in_order(self, makers: list[threading.Thread], store: threading.Thread) -> None:
        for thread in makers:
            thread.join()
        self._clips.finish()
        store.join()
        self._outcomes.put(None)

    def _examine_all(self, tasks: Iterable[Task], pool: DecodePool) -> None:
        manifest = Manifest(self.steps.cache)
        for task in tasks:
            found = self.steps.examine(task, manifest)
            if isinstance(found, Outcome):
                self._outcomes.put(found)
            else:
                self._ready.put((found, pool.start(found.request) if found.request else None))
        self._ready.finish()

    def _extract_all(self, networks: Networks) -> None:
        for found, frames in self._ready:
            try:
                with as_item_error(found.task.video_id):
                    clip = networks.extract(found, frames)
                self._clips.put((found, clip))
            except ItemError as error:
                self._outcomes.put(self.steps.failed_unless_there(found, error))
            finally:
                if frames is not None:
                    frames.close()

    def _store_all(self) -> None:
        for found, clip in self._clips:
            try:
                with as_item_error(found.task.video_id):
                    outcome = self.steps.store(found, clip)
            except ItemError as error:
                outcome = self.steps.failed_unless_there(found, error)
            self._outcomes.put(outcome)
