"""What datasets say of videos: Charades' labels, Action Genome's boxes and relations.

locate             the files, by their release names
charades           CSVs
action_genome      the two pickles
restricted_pickle  pickles that cannot run anything
ids                ids that may become file names
clip               both together, per video
"""

from pipeline.annotations.action_genome import FrameAnnotation
from pipeline.annotations.clip import Annotations, ClipAnnotation, read_annotations

__all__ = ["Annotations", "ClipAnnotation", "FrameAnnotation", "read_annotations"]
