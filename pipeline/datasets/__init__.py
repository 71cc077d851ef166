"""Datasets as they are released: videos, labels, boxes, relations.

annotations        labels and annotated frames of a video, from all files together
charades           Charades' CSV and class files
action_genome      Action Genome's two pickles
locate             annotation files, found by their release names
restricted_pickle  pickles that cannot run code
vocabulary         names of objects and predicates
video_files        the videos of a folder and their ids
ids                ids that are safe as file names
checksums          lists of known SHA-256
"""

from pipeline.datasets.action_genome import FrameAnnotation
from pipeline.datasets.annotations import (
    Annotations,
    ClipAnnotation,
    read_annotations,
    read_dataset,
)

__all__ = ["Annotations", "ClipAnnotation", "FrameAnnotation", "read_annotations", "read_dataset"]
