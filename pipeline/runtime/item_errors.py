"""Errors of one video become its reason."""

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.errors import FailureReason, ItemError, UsageError

LOGGER = logging.getLogger(__name__)


@contextmanager
def as_item_error(item: str) -> Iterator[None]:
    """Turn whatever one video raises into an `ItemError`, so that the others go on.

    A full disk keeps its own reason; what is not foreseen becomes INTERNAL_ERROR with its trace in
    the log. UsageError concerns the whole command and passes through.
    """
    try:
        yield
    except (ItemError, UsageError):
        raise
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        reason = FailureReason.DISK_FULL if full else FailureReason.INTERNAL_ERROR
        if error.errno in (errno.ENOMEM, errno.EAGAIN):  # no memory, or no thread
            reason = FailureReason.OUT_OF_MEMORY
        raise ItemError(reason, f"{item}: {error}") from error
    except Exception as error:
        # That of torch is told by its name: a decode process has no torch.
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            raise ItemError(
                FailureReason.OUT_OF_MEMORY,
                f"{item}: memory was not enough; lower detection.batch_size or use a smaller frame",
            ) from error
        LOGGER.exception("%s: unforeseen", item)
        raise ItemError(
            FailureReason.INTERNAL_ERROR, f"{item}: {type(error).__name__}: {error}"
        ) from error
