"""Families of faults of `python -m tools.faults`, with the pass criterion of each family.

lab       small videos, extraction as a process, and the result of an uninterrupted run
stops     processes that are killed or interrupted
writers   several processes that write to one folder
videos    damaged videos, unusual formats and decompression bombs
containers  healthy videos in unusual containers, and videos that are cut
storage   full and read-only disks, bit flips in a cache
hostile   pickles that execute code, and ids that are paths outside the folder
memory    decode processes that are killed or run out of memory
"""
