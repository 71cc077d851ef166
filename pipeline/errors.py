"""What can go wrong, with a closed list of reasons."""

from enum import StrEnum


class FailureReason(StrEnum):
    """Why one video has no result; the only values of `reason` in `failures.jsonl`."""

    MISSING_VIDEO = "missing-video"
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
    UNSAFE_ID = "unsafe-id"
    DUPLICATE_ID = "duplicate-id"
    BAD_CACHE = "bad-cache"
    OUT_OF_MEMORY = "out-of-memory"
    DISK_FULL = "disk-full"
    WORKER_DIED = "worker-died"
    TIME_LIMIT = "time-limit"
    INTERNAL_ERROR = "internal-error"


#: Reasons that may vanish when the same bytes are tried again.
RETRYABLE = frozenset(
    {
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
    """One video cannot be processed; the others go on.

    Attributes:
        reason: one of `FailureReason`.
    """

    def __init__(self, reason: FailureReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type, tuple[FailureReason, str]]:
        return ItemError, (self.reason, str(self))


class StageError(Exception):
    """A stage cannot go on: one sentence for standard error, exit code 1."""


class UsageError(Exception):
    """The command cannot start: one sentence for standard error, exit code 2."""
