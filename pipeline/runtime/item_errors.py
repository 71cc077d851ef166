"""Conversion of exceptions to `ItemError`."""

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.errors import FailureReason, ItemError, UsageError

LOGGER = logging.getLogger(__name__)


@contextmanager
def as_item_error(item: str) -> Iterator[None]:
    """Convert exceptions of one video to `ItemError`, so that the command can continue.

    The reason is DISK_FULL for a full disk, PERMISSION for a file that may not be accessed,
    OUT_OF_MEMORY for a lack of memory or threads, and INTERNAL_ERROR for everything else. The
    traceback of an unexpected exception is logged. `ItemError` is not converted. `UsageError` is
    not converted either, because it concerns the whole command.

    Args:
        item: id of the video, used in the message.
    """
    try:
        yield
    except (ItemError, UsageError):
        raise
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        reason = FailureReason.DISK_FULL if full else FailureReason.INTERNAL_ERROR
        if error.errno in (errno.EACCES, errno.EPERM):
            reason = FailureReason.PERMISSION
        if error.errno in (errno.ENOMEM, errno.EAGAIN):  # no memory, or no thread
            reason = FailureReason.OUT_OF_MEMORY
        raise ItemError(reason, f"{item}: {error}") from error
    except Exception as error:
        # torch.OutOfMemoryError is compared by name, because decode processes do not import torch.
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            raise ItemError(
                FailureReason.OUT_OF_MEMORY,
                f"{item}: out of memory; lower detection.batch_size or use smaller frames",
            ) from error
        LOGGER.exception("%s: unexpected error", item)
        raise ItemError(
            FailureReason.INTERNAL_ERROR, f"{item}: {type(error).__name__}: {error}"
        ) from error
