"""Metrics of rows without a network."""

from collections.abc import Sequence

import numpy as np

from pipeline.config.loading import load_config
from pipeline.config.schema import Config
from pipeline.datasets.cad120 import Release, read_release
from pipeline.decoding.sampling import segment_rows
from pipeline.errors import UsageError
from pipeline.evaluation.recall import MeanAverageRecall, recall_of_hits
from pipeline.evaluation.rule_table import rule_table_hits
from tools.tables.cells import Measure, Sources
from tools.tables.rows import FoldName

#: Relations and attributes that each kind of pairs (setting `pairs`) contains.
_SUBJECTS = {"hand": ("hand",), "person": ("hand", "head"), "head": ("head",)}
_SUBJECTS |= {"microwave": ("microwave",), "state": ()}


def rule_table(sources: Sources, fold: FoldName | None) -> MeanAverageRecall:
    """Compute the mAR of the rules of CAD-120 on the annotated relations that a network reads.

    The frames and the pairs are those of the settings.

    Args:
        sources: settings and annotations.
        fold: test fold.

    Raises:
        UsageError: if there are no annotations, or the fold does not exist.
    """
    if sources.annotations is None:
        raise UsageError("--annotations: a folder of annotations expected, got none")
    release = read_release([sources.annotations])
    if str(fold) not in release.folds:
        raise UsageError(f"--folds: folds of {', '.join(release.folds)} expected, got {fold}")
    config = load_config(sources.config, sources.words)
    return rule_recall(release, config, release.folds[str(fold)])


def rule_recall(release: Release, config: Config, subjects: Sequence[str]) -> MeanAverageRecall:
    """Compute the mAR of the rules on the clips of some subjects, see `rule_table`."""
    pairs = config.pairs or ["hand"]

    def sample(num: int) -> list[int]:
        cached = segment_rows(num, config.frames.num)
        picked = segment_rows(len(cached), config.model.num_frames, ends=config.model.sample_ends)
        return [cached[row] for row in picked]

    found = rule_table_hits(
        release,
        sample=sample,
        attributes="state" in pairs,
        subject_classes={subject for name in pairs for subject in _SUBJECTS[name]},
        occluded=config.occluded,
    )
    mine = np.isin(found.subjects, subjects)
    num_classes = len(release.knowledge.actions)
    return recall_of_hits(found.hits[mine], found.labels[mine], num_classes)


#: Functions by the name that a row has in its file. A row with another function is not run.
MEASURES: dict[str, Measure] = {"rule_table": rule_table}
