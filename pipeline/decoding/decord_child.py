"""Runs decord in a process of its own; started as a script, so that nothing else is imported.

Arguments: video, ordinals as JSON. Writes to standard output a line of JSON (`num_frames`,
`height`, `width`, `starts_s` of the frames asked for), then the frames as raw RGB. decord can hang
holding the interpreter's lock, and can end the process: that is why it lives here.
"""

import json
import sys


def main() -> None:
    """Decode and write."""
    import decord  # the only import that can fail, and the only one needed

    path, ordinals = sys.argv[1], json.loads(sys.argv[2])
    out = sys.stdout.buffer
    reader = decord.VideoReader(path, ctx=decord.cpu(0), num_threads=1)
    inside = [i for i in ordinals if i < len(reader)]
    # In order from the first on: after a seek decord is off by some frames in an open GOP.
    image = reader.next()
    height, width = image.shape[:2]
    head = {
        "num_frames": len(reader),
        "height": int(height),
        "width": int(width),
        "starts_s": [float(reader.get_frame_timestamp(i)[0]) for i in inside],
    }
    out.write(json.dumps(head).encode() + b"\n")
    at = 0
    for ordinal in inside:
        while at < ordinal:
            image = reader.next()
            at += 1
        out.write(image.asnumpy().tobytes())
    out.flush()
    del reader


if __name__ == "__main__":
    main()
