"""Annotations with which reasons are compared."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline.datasets.cad120.files import CLIPS
from pipeline.errors import UsageError
from pipeline.weights.model_card import ModelCard
from tools.proofs.faithfulness.rationales import MAPPING, read_objects
from tools.world.rules import Rules, load_rules
from tools.world.script import Script
from tools.world.true_relations import read_scripts

WORLD = "world.json"


@dataclass(frozen=True)
class Annotations:
    """Annotations of videos of Charades or of the synthetic world.

    Attributes:
        rules: contents of configs/world/.
        objects: object classes that are the object of each action class, see `read_objects`; None
            without annotations.
        scripts: script of each video of the synthetic world; None for other videos.
    """

    rules: Rules
    objects: dict[str, frozenset[str]] | None = None
    scripts: dict[str, Script] | None = None


def read_annotations(folder: Path | None, card: ModelCard, video_ids: Iterable[str]) -> Annotations:
    """Read the annotations in a folder.

    Args:
        folder: folder with the class files of Charades, and world.json for the synthetic world. If
            None, there are no annotations.
        card: card of the network.
        video_ids: ids of the videos.

    Raises:
        UsageError: if the folder contains no annotations or those of CAD-120, or a file is invalid.
    """
    rules = load_rules()
    if folder is None:
        return Annotations(rules)
    has_objects, has_scripts = ((folder / name).is_file() for name in (MAPPING, WORLD))
    if any((part / CLIPS).is_file() for part in (folder, folder / "annotations")):
        raise UsageError(
            f"--annotations: annotations of Charades or of a synthetic world in the form of "
            f"Charades expected, {folder} contains those of CAD-120, which are not supported; "
            "leave --annotations out to test the reasons without them"
        )
    if not has_objects and not has_scripts:
        raise UsageError(
            f"--annotations: {MAPPING} or {WORLD} expected in {folder}, found neither. Provide the "
            "folder of Charades' annotations or the folder `annotations` of tools.synthesize"
        )
    objects = scripts = None
    if has_objects:
        class_ids = [class_id for class_id, _ in card.classes]
        objects = read_objects(folder, class_ids, card.cache.objects)
    if has_scripts:
        scripts = read_scripts(folder, rules, video_ids)
    return Annotations(rules, objects, scripts)
