"""Reader of the re-annotation `evar` of CAD-120, in its released form.

annotations  conversion to the annotations that an extraction reads
release    annotations, clips and test subjects of all videos, from all files
videos     reader of the boxes, attributes and relations of a video
clips      reader of the list of clips with their actions
knowledge  names of actions, objects and relations, and the rules for actions
splits     reader of the test subjects of each fold
files      search for the folder of the release, and bounded reading of its text files
"""

from pipeline.datasets.cad120.clips import ClipLine
from pipeline.datasets.cad120.knowledge import Knowledge
from pipeline.datasets.cad120.release import Release, read_release
from pipeline.datasets.cad120.videos import VideoAnnotation

__all__ = ["ClipLine", "Knowledge", "Release", "VideoAnnotation", "read_release"]
