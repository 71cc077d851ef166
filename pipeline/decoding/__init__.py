"""Video files to frames.

reader         `open_video` and the `VideoReader` it gives: PyAV, read in order
opencv_source  pixels by OpenCV; decord_source: by decord, in a process of its own (decord_child)
scan           what a file holds, found by reading its packets
dump_map       frame numbers of ffmpeg's image dump
"""

from pipeline.decoding.reader import VideoReader, open_video

__all__ = ["VideoReader", "open_video"]
