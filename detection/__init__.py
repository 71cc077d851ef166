"""Boxes and their features from image tensors; knows no disk, config or video.

detections   the `Detections` of one frame
detector     the stages in order: detect, describe given boxes, pool unions
build        a detector of given sizes; seeded weights
layouts      names of tensors in other projects' files, to ours
presets      conventions of checkpoint families
preprocess   frames to network input
resnet       trunk and stages
anchors, rpn, box_coder, roi_heads, postprocess  the parts of Faster R-CNN
"""
