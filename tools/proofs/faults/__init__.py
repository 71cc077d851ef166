"""What `python -m tools.faults` tries, and how it judges.

lab       small videos, the extraction as a process that can be killed, a reference result
stops     processes that are killed or interrupted
writers   several processes on one folder
videos    damaged videos, odd formats, bombs
storage   full and read-only disks, bits that flip in a cache
hostile   pickles that run code, ids that leave the folder
memory    decoders that die or run out of memory
"""
