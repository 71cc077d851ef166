"""Which decoded frame stands behind a number of Action Genome.

Its authors dumped frames with `ffmpeg -i VIDEO %06d.png` (version 2.8). The image writer keeps a
constant frame rate: it repeats or drops frames, so file number and decode order may differ.
"""

from collections.abc import Sequence


def dump_to_ordinal(pts_s: Sequence[float], start_s: float, rate: float) -> list[int]:
    """Decode ordinal behind each file of the dump; file i + 1 is entry i.

    ffmpeg (up to 5), do_video_out with vsync cfr: a frame whose time runs more than 1.1 frames
    ahead of the output is written several times, one that lags by more than 1.1 is dropped; of the
    copies, round(ahead - 0.6) repeat the frame before.

    Args:
        pts_s: presentation times of the decoded frames, rising, seconds.
        start_s: time from which ffmpeg counts (`Scan.dump_start_s`), seconds.
        rate: output frames per second (the stream's guessed rate).

    Returns:
        Ordinals, not falling.
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
