"""Check that a cache matches the configuration of a training run."""

from collections.abc import Sequence

from pipeline.cache.folder import CacheInfo
from pipeline.config.schema import Branch, Config, Features, Relations
from pipeline.datasets.vocabulary import load_vocabulary
from pipeline.errors import UsageError
from pipeline.weights.detectors import resolve_detector


def check_cache(config: Config, info: CacheInfo) -> None:
    """Check that a cache matches the configuration of a training run.

    Raises:
        UsageError: if the cache does not match the configuration. The message names the first
            mismatch.
    """
    if config.relations is Relations.none:
        raise UsageError(
            "relations=none: training requires relations; use relations=ground-truth or "
            "relations=predicted with a cache that contains them (relations=none is for evaluate "
            "and predict)"
        )
    if config.branch is Branch.both and info.settings.features == Features.none.value:
        raise UsageError(
            "--cache: features of videos expected, but this cache was created with features=none; "
            "extract the videos into another cache, or set branch=language"
        )
    there = info.settings
    pairs = (config.pairs or there.pairs or ()) if there.pairs else ()
    given = _pair_words(config.boxes.value, pairs, config.occluded)
    stored = _pair_words(there.boxes, there.pairs or (), bool(there.occluded))
    for word, other in zip(given, stored, strict=True):
        if word != other:
            raise UsageError(
                f"--cache: {word} expected, this cache has {other}; use the --config and the "
                "settings of the extraction, or extract again"
            )
    check_vocabulary(config.vocabulary, info, "this cache")
    if not info.classes:
        raise UsageError(
            "--cache: labelled videos expected, but this cache has no labels; extract again and "
            "set --annotations to the annotation folder of the dataset"
        )
    if config.detection.weights is not None:
        wanted, found = resolve_detector(config.detection).weights, info.detector.get("weights")
        if wanted != found:
            raise UsageError(
                f"detection.weights: the detector of this cache ({found}) expected, got {wanted}; "
                "omit the setting, or extract again"
            )


def check_vocabulary(name: str, info: CacheInfo, cache: object) -> None:
    """Check that a cache was extracted with the named vocabulary.

    Args:
        name: name of the vocabulary.
        info: description of the cache.
        cache: name of the cache, used in the error message.

    Raises:
        UsageError: if the object classes or the predicates of the cache differ from the
            vocabulary.
    """
    vocabulary = load_vocabulary(name)
    groups = [list(v.predicate_groups.items()) for v in (vocabulary, info)]
    if vocabulary.objects != info.objects or groups[0] != groups[1]:
        raise UsageError(
            f"--cache: object classes and predicates of the vocabulary {name!r} expected, {cache} "
            f"has different ones (vocabulary={info.settings.vocabulary}); use the --config of the "
            "extraction, or extract again"
        )


def _pair_words(boxes: str, pairs: Sequence[str], occluded: bool) -> list[str]:
    """Return the settings of the boxes and pairs of a cache as words."""
    kinds = [f"pairs=[{','.join(sorted(pairs))}]"] if pairs else []
    return [f"boxes={boxes}", *kinds, f"occluded={str(occluded).lower()}"]
