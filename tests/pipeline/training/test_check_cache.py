import re
from pathlib import Path

import pytest

from pipeline.cache.folder import ExtractionSettings
from pipeline.config.loading import load_config
from pipeline.errors import UsageError
from pipeline.training.laiar.cache_check import check_cache
from tests.pipeline.cache_maker import cache_info

CONFIG = "configs/cad120_language.yaml"
KINDS = ("hand", "head", "microwave", "state")


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("pairs=[hand]", "pairs=[hand,head,microwave,state]"),
        ("pairs=[hand,head,microwave,person]", "pairs=[hand,head,microwave,state]"),
        ("occluded=false", "occluded=true"),
    ],
)
def test_pairs_of_another_cache_are_rejected(word: str, found: str) -> None:
    stored = ExtractionSettings("ground-truth", "none", pairs=KINDS, occluded=True, features="none")
    info = cache_info(settings=stored)
    config = load_config(Path(CONFIG), [word])
    with pytest.raises(
        UsageError, match=re.escape(f"--cache: {word} expected, this cache has {found}; ")
    ):
        check_cache(config, info)


def test_pairs_in_another_order_are_those_of_the_cache() -> None:
    stored = ExtractionSettings("ground-truth", "none", pairs=KINDS, occluded=True, features="none")
    config = load_config(Path(CONFIG), ["pairs=[state,hand,microwave,head]"])
    with pytest.raises(UsageError, match="vocabulary"):  # the next check
        check_cache(config, cache_info(settings=stored))
