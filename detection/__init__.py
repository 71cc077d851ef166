"""Faster R-CNN on image tensors.

The package does not access files, configurations or videos.

detections        boxes of one frame with labels, scores and features
detector          Faster R-CNN for detection, features of provided boxes and union features
build             construction and initialisation of detectors
presets           conventions of checkpoint families
layouts           conversion of state dicts of other projects
detectron2_parts  adapter for detectron2 models
fast              optimisation of detectors for inference
preprocess        conversion of decoded frames to network input
resnet            ResNet backbones
anchors           anchor boxes
rpn               region proposal network
box_coder         conversion between boxes and box deltas
roi_heads         box features, class scores and box deltas of regions
postprocess       selection of the boxes of a frame
matching          assignment of anchors and proposals to annotated boxes
loss              training losses
"""
