"""Program of the decord process, run as a script so that nothing else is imported.

Its arguments are the path of the video and the frame ordinals as JSON. It writes a line of JSON to
standard output (`num_frames`, `height`, `width`, and `starts_s` of the requested frames), then the
frames as raw RGB. decord can hang while it holds the interpreter lock, or crash its process, so it
runs in a separate process.
"""

import json
import sys


def main() -> None:
    """Decode the requested frames and write them to standard output."""
    import decord  # the only import outside the standard library

    path, ordinals = sys.argv[1], json.loads(sys.argv[2])
    out = sys.stdout.buffer
    reader = decord.VideoReader(path, ctx=decord.cpu(0), num_threads=1)
    inside = [i for i in ordinals if i < len(reader)]
    # Decode in order: after a seek in an open GOP, decord returns wrong frames.
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
