import errno
import logging

import pytest
import torch

from pipeline.errors import FailureReason, ItemError, UsageError
from pipeline.runtime.item_errors import as_item_error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "full"), FailureReason.DISK_FULL),
        (OSError(errno.EDQUOT, "quota"), FailureReason.DISK_FULL),
        (OSError(errno.EACCES, "denied"), FailureReason.PERMISSION),
        (PermissionError(errno.EPERM, "denied"), FailureReason.PERMISSION),
        (OSError(errno.EIO, "device"), FailureReason.INTERNAL_ERROR),
        (OSError(errno.ENOMEM, "memory"), FailureReason.OUT_OF_MEMORY),
        (OSError(errno.EAGAIN, "no thread"), FailureReason.OUT_OF_MEMORY),
        (MemoryError(), FailureReason.OUT_OF_MEMORY),
        (torch.OutOfMemoryError("of the GPU"), FailureReason.OUT_OF_MEMORY),
        (RuntimeError("unforeseen"), FailureReason.INTERNAL_ERROR),
    ],
)
def test_exceptions_become_item_errors_with_a_reason(
    error: Exception, reason: FailureReason, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.CRITICAL),
        pytest.raises(ItemError, match=r"^VIDEO: ") as caught,
        as_item_error("VIDEO"),
    ):
        raise error
    assert caught.value.reason is reason


@pytest.mark.parametrize(
    "error", [UsageError("of the command"), ItemError(FailureReason.NO_FRAMES, "of the video")]
)
def test_usage_errors_and_item_errors_are_not_converted(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, as_item_error("VIDEO"):
        raise error
    assert caught.value is error
