from pathlib import Path

from pipeline.weights.files import ROOT
from tests.pipeline.cache_maker import random_cache
from tools.tables.cells import Sources
from tools.tables.plan import Plan
from tools.tables.rows import read_tables


def test_cell_of_a_function_depends_on_the_settings_that_it_reads(tmp_path: Path) -> None:
    cache = random_cache(tmp_path / "cache", train=1, test=0)

    def cells(*words: str) -> list[tuple[str, ...]]:
        plan = Plan(
            dataset="cad120",
            number="language",
            tables=read_tables("cad120"),
            preset="strict",
            sources=Sources(ROOT / "configs/cad120_language.yaml", cache, words=words),
            folds=(1,),
            seeds=2,
            functions=("rule_table",),
        )
        return [tuple(cell.words) for cell in plan.cells().values() if cell.function]

    assert cells("model.num_frames=4") == [("model.num_frames=4",)]
