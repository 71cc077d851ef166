"""Mapping from Action Genome's frame numbers to decoded frames.

The authors of Action Genome dumped frames with `ffmpeg -i VIDEO %06d.png` (version 2.8). The image
writer of ffmpeg keeps a constant frame rate. It repeats or drops frames, so the number of a file
may differ from the number of the decoded frame.
"""

from collections.abc import Sequence


def dump_to_ordinal(pts_s: Sequence[float], start_s: float, rate: float) -> list[int]:
    """Return the ordinal of the decoded frame in each file of the dump.

    The rule is that of `do_video_out` in ffmpeg (up to version 5) with vsync cfr. Positions are
    counted in output frames. A frame that ends more than 1.1 behind the output position is dropped.
    A frame that ends more than 1.1 ahead of it is written several times. If it also starts more
    than 1.1 ahead, round(start - position - 0.6) of the copies repeat the previous frame.

    Args:
        pts_s: presentation times of the decoded frames in seconds, increasing.
        start_s: start time of the dump in seconds (`Scan.dump_start_s`).
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
