"""A bounded queue between threads that can be ended from both sides."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Stopped(BaseException):
    """The channel was closed while this thread waited; no error of any item's."""


class Channel(Generic[Item]):
    """Items in order from some threads to others.

    Args:
        limit: total weight that may wait; one item may in any case.
        weight: of an item; 1 each unless given.
    """

    def __init__(self, limit: int, weight: Callable[[Item], int] = lambda _: 1) -> None:
        self._limit, self._weight = limit, weight
        self._items: deque[Item] = deque()
        self._waiting = 0
        self._finished = self._closed = False
        self._changed = threading.Condition()

    def put(self, item: Item) -> None:
        """Add an item once there is room; Stopped if the channel is closed by then."""
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
        """Items until the channel is finished and empty; Stopped if it is closed before."""
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
        """Nothing more will be put."""
        with self._changed:
            self._finished = True
            self._changed.notify_all()

    def close(self) -> None:
        """End both sides now; what waits is dropped."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()
