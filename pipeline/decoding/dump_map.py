"""Mapping from Action Genome's frame numbers to decoded frames.

The authors of Action Genome dumped frames with `ffmpeg -i VIDEO %06d.png` (version 2.8). To keep
a constant frame rate, the image writer of ffmpeg repeats or drops frames. The number of a file may
therefore differ from the number of the decoded frame.
"""

from collections.abc import Sequence


def dump_to_ordinal(pts_s: Sequence[float], start_s: float, rate: float) -> list[int]:
    """Return the ordinal of the decoded frame in each file of the dump.

    The function reproduces `do_video_out` of ffmpeg (up to version 5) with vsync cfr. Positions are
    measured in output frames. A frame that ends more than 1.1 before the output position is
    dropped. A frame that ends more than 1.1 after the output position is written several times. If
    such a frame also starts more than 1.1 after the output position, the first
    round(start - position - 0.6) copies show the previous frame instead.

    Args:
        pts_s: presentation times of the decoded frames in seconds, increasing.
        start_s: start time of the dump in seconds; see `Scan.dump_start_s`.
        rate: output frames per second (the stream's guessed rate).

    Returns:
        Ordinals, non-decreasing. Entry i belongs to file i + 1.
    """
    ordinals: list[int] = []
    for k, time in enumerate(pts_s):
        ahead = (time - start_s) * rate - len(ordinals)
        lag = ahead + 1.0
        if lag < -1.1:
            copies = 0
        else:
            copies = int(lag + 0.5) if lag > 1.1 else 1
        repeats = round(ahead - 0.6) if ahead > 1.1 else 0
        ordinals += [k - 1 if j < repeats and k else k for j in range(copies)]
    return ordinals
