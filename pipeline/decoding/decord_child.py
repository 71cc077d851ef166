"""Program of the decord process. It runs as a script, so that no other module is imported.

Its arguments are the path of the video and the frame ordinals as JSON. The script writes a line of
JSON to standard output (`num_frames`, `height`, `width`, and `starts_s` of the requested frames),
followed by the frames as raw RGB. decord runs in a separate process, because it can crash its
process or hang while it holds the interpreter lock.
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
    # Decode in order, because decord returns wrong frames after a seek in an open GOP.
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
