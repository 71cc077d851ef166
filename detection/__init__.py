"""Boxes and their features from image tensors; knows no disk, config or video.

detections  the `Detections` of one frame
"""
