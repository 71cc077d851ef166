"""Annotations of Charades and Action Genome, from all of their files."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.datasets.annotations import Annotations, ClipAnnotation, ReadOptions
from pipeline.datasets.charades.action_genome import read_action_genome
from pipeline.datasets.charades.locate import locate
from pipeline.datasets.charades.table import read_charades
from pipeline.datasets.vocabulary import Vocabulary


def read_annotations(
    folders: Sequence[Path], vocabulary: Vocabulary, options: ReadOptions | None = None
) -> Annotations:
    r"""Read the annotation files of Charades and Action Genome.

    Args:
        folders: folders that contain the files under their release names, possibly in subfolders.
        vocabulary: names of the object classes and predicates.
        options: no effect, because a video of Charades is one sample and has no kinds of pairs.

    Returns:
        Annotations of all videos. A video with a malformed annotation is listed in `errors`.

    Raises:
        UsageError: if a file is missing, occurs twice, has the wrong format, or is a pickle that
            refers to code.

    Example::

        >>> import tempfile
        >>> from pathlib import Path
        >>> from pipeline.datasets.charades.release import read_annotations
        >>> from pipeline.datasets.charades.table import COLUMNS
        >>> from pipeline.datasets.vocabulary import load_vocabulary
        >>> temporary = tempfile.TemporaryDirectory()
        >>> folder = Path(temporary.name)
        >>> classes = "c000 Holding some clothes\nc001 Putting clothes somewhere\n"
        >>> _ = (folder / "Charades_v1_classes.txt").write_text(classes)
        >>> row = "A0001,S1,Kitchen,5,6,Yes,script,clothes,description,c001 0.5 2.0,10.0"
        >>> table = f"{','.join(COLUMNS)}\n{row}\n"
        >>> _ = (folder / "Charades_v1_train.csv").write_text(table)
        >>> annotations = read_annotations([folder], load_vocabulary("action_genome"))
        >>> annotations.classes
        (('c000', 'Holding some clothes'), ('c001', 'Putting clothes somewhere'))
        >>> clip = annotations.of_video("A0001")
        >>> clip.split, clip.length_s, clip.actions
        ('train', 10.0, ((1, 0.5, 2.0),))
        >>> temporary.cleanup()
    """
    files = locate(folders)
    charades = read_charades(files)
    genome = read_action_genome(files, vocabulary)
    errors = charades.errors | genome.errors
    videos = {}
    for video_id in charades.videos.keys() | genome.videos.keys():
        if video_id in errors:
            continue
        row, frames = charades.videos.get(video_id), genome.videos.get(video_id, ())
        split = next((frame.split for frame in frames if frame.split), None)
        said = vars(row) if row else {"split": split}
        videos[video_id] = ClipAnnotation(video_id, **said, frames=frames)
    faulty = {
        video_id: ClipAnnotation(video_id, **vars(charades.videos[video_id]))
        for video_id in errors.keys() & charades.videos.keys()
    }
    return Annotations(charades.classes, videos, errors, faulty=faulty)
