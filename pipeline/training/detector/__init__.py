"""Training of detectors (`tools.train_detector`).

settings   all settings with their defaults
samples    annotated frames from COCO files or Action Genome's pickles
frames     images of annotated frames, dumped from the videos if they are missing
batches    batches of training images, with grouping, shuffling and augmentation
learner    training step and resumable checkpoint
scoring    COCO average precision with pycocotools
"""
