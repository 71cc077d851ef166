"""Readers of the videos and annotations of datasets in their released form.

annotations        types of the labels and annotated frames of each video
registry           datasets by name
charades/          reader of Charades and Action Genome
cad120/            reader of the re-annotation of CAD-120
restricted_pickle  unpickler that cannot run code
vocabulary         names of the object classes and predicates
video_files        videos of a folder, with their ids
spans              division of annotated videos into their spans
coverage           number of videos with annotations
ids                ids of videos, which are safe as file names
checksums          reader of lists of SHA-256 sums
text_files         reader of text files in UTF-8 or UTF-16
"""

from pipeline.datasets.annotations import (
    Annotations,
    ClipAnnotation,
    FrameAnnotation,
    ReadOptions,
    Span,
)
from pipeline.datasets.registry import read_dataset

__all__ = [
    "Annotations",
    "ClipAnnotation",
    "FrameAnnotation",
    "ReadOptions",
    "Span",
    "read_dataset",
]
