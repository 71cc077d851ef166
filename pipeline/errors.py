"""Exceptions of the commands and failure reasons of videos."""

from enum import StrEnum


class FailureReason(StrEnum):
    """Reason why a video failed.

    The value is stored as `reason` in `failures.jsonl`.
    """

    MISSING_VIDEO = "missing-video"
    PERMISSION = "permission"
    UNREADABLE_VIDEO = "unreadable-video"
    NO_FRAMES = "no-frames"
    TRUNCATED_VIDEO = "truncated-video"
    CORRUPT_VIDEO = "corrupt-video"
    CHANGED_VIDEO = "changed-video"
    TOO_LARGE = "too-large"
    DECODE_TIMEOUT = "decode-timeout"
    DECODER_DIED = "decoder-died"
    BAD_ANNOTATION = "bad-annotation"
    NO_ANNOTATION = "no-annotation"
    FRAME_OUT_OF_RANGE = "frame-out-of-range"
    UNKNOWN_FRAME_MAP = "unknown-frame-map"
    NO_SUCH_RELATION = "no-such-relation"
    UNSAFE_ID = "unsafe-id"
    DUPLICATE_ID = "duplicate-id"
    BAD_CACHE = "bad-cache"
    OUT_OF_MEMORY = "out-of-memory"
    DISK_FULL = "disk-full"
    WORKER_DIED = "worker-died"
    TIME_LIMIT = "time-limit"
    INTERNAL_ERROR = "internal-error"


#: Failure reasons after which another attempt with the same file may succeed.
RETRYABLE = frozenset(
    {
        FailureReason.PERMISSION,
        FailureReason.CHANGED_VIDEO,
        FailureReason.DECODE_TIMEOUT,
        FailureReason.DECODER_DIED,
        FailureReason.OUT_OF_MEMORY,
        FailureReason.DISK_FULL,
        FailureReason.WORKER_DIED,
        FailureReason.TIME_LIMIT,
        FailureReason.INTERNAL_ERROR,
    }
)


class ItemError(Exception):
    """Failure of one video.

    The command continues with the other videos.

    Attributes:
        reason: reason of the failure.
    """

    def __init__(self, reason: FailureReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type, tuple[FailureReason, str]]:
        return ItemError, (self.reason, str(self))


class StageError(Exception):
    """Failure of a whole stage.

    The command prints the message to standard error and exits with code 1.
    """


class UsageError(Exception):
    """Invalid arguments, settings or input files.

    The command prints the message to standard error and exits with code 2.
    """
