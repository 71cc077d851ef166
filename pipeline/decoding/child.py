"""Program of a decode process. If it crashes or hangs, the main process continues.

Its argument is the number of bytes that the process may allocate in addition to its memory at
start-up, or 0 for no limit. The process reads requests from standard input. Each request is one
line of JSON (`FrameRequest`). The process writes messages to standard output. Each message is one
line of JSON with a field `kind`:

    ready    sent once after the start
    frames   has `index`, `times_s`, `height`, `width`, `source`; raw RGB (T, 3, H, W) follows
    end      has `source`; the request is complete
    error    has `reason` and `message`; the video has no further frames
    usage    has `message`; no video can be decoded with these options

"""

import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import IO, Any

from pipeline.decoding.request import DirectStream, FrameRequest
from pipeline.errors import ItemError, UsageError
from pipeline.runtime.item_errors import as_item_error


def main() -> None:
    """Answer requests until standard input ends."""
    # The parent handles Ctrl-C, which a terminal sends to all processes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # redirect the output of libraries to standard error
    limit_memory(int(sys.argv[1]))
    _send(out, {"kind": "ready"})
    for line in sys.stdin:
        _answer(out, FrameRequest.from_dict(json.loads(line)))


def limit_memory(num_bytes: int) -> None:
    """Limit the memory of this process to its current size plus `num_bytes`.

    If `num_bytes` is 0, the memory is not limited.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sizes = Path("/proc/self/statm")
    if num_bytes and sizes.is_file():
        now = int(sizes.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + num_bytes, now + num_bytes))


def _answer(out: IO[bytes], request: FrameRequest) -> None:
    stream = DirectStream(request)
    try:
        with as_item_error(request.path.name):
            for part in stream.decode():
                message = {
                    "kind": "frames",
                    "index": part.index,
                    "times_s": part.times_s,
                    "height": part.images.shape[2],
                    "width": part.images.shape[3],
                    "source": part.source.to_dict(),
                }
                _send(out, message, part.images.tobytes())
            assert stream.source is not None
            end = {"kind": "end", "source": stream.source.to_dict()}
    except ItemError as error:
        end = {"kind": "error", "reason": error.reason.value, "message": str(error)}
    except UsageError as error:
        end = {"kind": "usage", "message": str(error)}
    _send(out, end)


def _send(out: IO[bytes], message: dict[str, Any], payload: bytes | None = None) -> None:
    out.write(json.dumps(message).encode() + b"\n")
    if payload is not None:
        out.write(payload)
    out.flush()


if __name__ == "__main__":
    main()
