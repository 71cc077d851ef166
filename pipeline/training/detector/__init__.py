"""How `tools.train_detector` works.

settings   every setting, with its default
samples    annotated frames, from COCO files or Action Genome's pickles
frames     the image of every annotated frame, dumped from videos where it is missing
batches    which frames go together, in which order, how they are changed
learner    the loop's step, and the state it is taken up again from
scoring    COCO average precision, by pycocotools
"""
