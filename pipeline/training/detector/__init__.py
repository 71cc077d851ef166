"""Training of detectors (`tools.train_detector`).

settings   all settings with their defaults
samples    annotated frames from COCO files or Action Genome's pickles
frames     images of annotated frames; missing images are dumped from videos
batches    batches of training images: grouping, order and augmentation
learner    training step and its resumable checkpoint
scoring    COCO average precision with pycocotools
"""
