"""Decoding of video files and folders of dumped frames.

reader         `open_video` and the `VideoReader` that it returns
options        decoder options
frame_folder   reader of a folder of dumped frames
request        request for frames of a video, and the resulting stream of frames
array_stream   stream of frames that are already in memory
sampling       selection of frames from a video or a clip
pool           pool of decode processes with bounded buffers
child          program of a decode process
pipe           reader of the output of a child process, with a time limit
images         decoded frames as numpy arrays, without an import of torch
video_frames   decoded frames as tensors
video_source   properties of a decoded video
opencv_backend decoding with OpenCV
decord_backend decoding with decord in a child process
decord_child   program of the decord process
backend_check  check that OpenCV or decord shows the frames of a video as ffmpeg does
container      opening of video files with PyAV, and their packets
completeness   completeness of a video file, from the sizes that its headers declare
scan           properties of a video stream, read from its packets without decoding
frames         decoding of the shown frames of a video with PyAV, and their times
pictures       conversion of decoded frames to upright RGB images, as in ffmpeg
dump_map       mapping from file numbers of ffmpeg's image dump to decoded frames
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
