"""Training of detectors (`tools.train_detector`).

settings   all settings with their defaults
samples    annotated images, from Action Genome's pickles
coco       annotated images from COCO files
folders    annotated images of a dataset, from folders of frames
splits     splits of annotated images
frames     images of samples, dumped from the videos if they are missing
batches    batches of training images, with grouping, shuffling and augmentation
task       network, loss and data
scoring    COCO average precision with pycocotools
"""
