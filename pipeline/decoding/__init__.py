"""Video files to frames.

reader         `open_video` and the `VideoReader` it returns
options        how videos are decoded
frame_folder   a folder of dumped frames, read like a video
request        the frames of a video that an extraction needs, and the stream they come in
sampling       which frames of a video or a clip are taken
pool           decoding ahead in child processes, with bounded buffers
child          the program of a decode process
pipe           output of a child process, with a limit on its silence
images         decoded frames as numpy arrays: a decode process does not import torch
video_frames   decoded frames as tensors
video_source   the video that frames come from
opencv_backend pixels by OpenCV
decord_backend pixels by decord, in a child process
decord_child   the program of that process
scan           what a file holds, found by reading its packets
dump_map       frame numbers of ffmpeg's image dump
"""

from pipeline.decoding.options import DecodeOptions
from pipeline.decoding.pool import BufferedStream, DecodePool, num_workers
from pipeline.decoding.reader import VideoReader, open_video
from pipeline.decoding.request import DirectStream, FrameRequest, FrameStream

__all__ = [
    "BufferedStream",
    "DecodeOptions",
    "DecodePool",
    "DirectStream",
    "FrameRequest",
    "FrameStream",
    "VideoReader",
    "num_workers",
    "open_video",
]
