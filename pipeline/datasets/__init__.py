"""Readers of the videos and annotations of datasets in their released form.

annotations        labels and annotated frames of each video, from all files
charades           reader of Charades' CSV and class files
action_genome      reader of Action Genome's two pickles
pickle_values      checked access to the values of an unpickled annotation
locate             search for annotation files by their release names
restricted_pickle  unpickler that cannot run code
vocabulary         names of the object classes and predicates
video_files        videos of a folder, with their ids
coverage           number of videos with annotations
ids                ids of videos, which are safe as file names
checksums          reader of lists of SHA-256 sums
text_files         reader of text files in UTF-8 or UTF-16
"""

from pipeline.datasets.action_genome import FrameAnnotation
from pipeline.datasets.annotations import (
    Annotations,
    ClipAnnotation,
    read_annotations,
    read_dataset,
)

__all__ = ["Annotations", "ClipAnnotation", "FrameAnnotation", "read_annotations", "read_dataset"]
