"""Bounded queue between threads that both sides can close."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Stopped(BaseException):
    """Raised by a closed channel.

    It is a `BaseException`, so that handlers for the errors of single items do not catch it.
    """


class Channel(Generic[Item]):
    """Bounded first-in, first-out queue between threads.

    Args:
        limit: largest total weight of the items in the queue. A single item may exceed it.
        weight: function that returns the weight of an item. Default: every item has weight 1.
    """

    def __init__(self, limit: int, weight: Callable[[Item], int] = lambda _: 1) -> None:
        self._limit, self._weight = limit, weight
        self._items: deque[Item] = deque()
        self._waiting = 0
        self._finished = self._closed = False
        self._changed = threading.Condition()

    def put(self, item: Item) -> None:
        """Add an item, waiting until there is room for it.

        Raises:
            Stopped: if the channel is closed.
        """
        size = self._weight(item)
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or not self._items or self._waiting + size <= self._limit
            )
            if self._closed:
                raise Stopped
            self._items.append(item)
            self._waiting += size
            self._changed.notify_all()

    def __iter__(self) -> Iterator[Item]:
        """Yield items until the channel is finished and empty.

        Raises:
            Stopped: if the channel is closed.
        """
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._items or self._finished)
                if self._closed:
                    raise Stopped
                if not self._items:
                    return
                item = self._items.popleft()
                self._waiting -= self._weight(item)
                self._changed.notify_all()
            yield item

    def finish(self) -> None:
        """Mark the channel as complete.

        No items may be added after this call.
        """
        with self._changed:
            self._finished = True
            self._changed.notify_all()

    def close(self) -> None:
        """Drop the queued items and raise `Stopped` in all threads that use the channel."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()
