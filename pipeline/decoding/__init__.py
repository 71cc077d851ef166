"""Video files to frames.

reader         `open_video` and the `VideoReader` it gives: PyAV, read in order
frame_folder   dumped frames in the place of a video
request        which frames of a video an extraction wants (`FrameRequest`), the stream they come in
images         decoded images before they are tensors: a decode process has no torch
pool           `DecodePool`: children that decode ahead (child, pipe), with bounded buffers
opencv_source  pixels by OpenCV; decord_source: by decord, in a process of its own (decord_child)
scan           what a file holds, found by reading its packets
dump_map       frame numbers of ffmpeg's image dump
"""

from pipeline.decoding.pool import BufferedStream, DecodePool, num_workers
from pipeline.decoding.reader import VideoReader, open_video
from pipeline.decoding.request import DirectStream, FrameRequest, FrameStream

__all__ = [
    "BufferedStream",
    "DecodePool",
    "DirectStream",
    "FrameRequest",
    "FrameStream",
    "VideoReader",
    "num_workers",
    "open_video",
]
