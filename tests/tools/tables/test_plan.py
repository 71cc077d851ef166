from tools.tables.plan import Plan
from tools.tables.rows import read_tables


def test_cell_of_a_function_depends_on_the_settings_that_it_reads() -> None:
    def cells(*words: str) -> list[tuple[str, ...]]:
        plan = Plan(
            dataset="cad120",
            number="language",
            tables=read_tables("cad120"),
            preset="strict",
            words=words,
            folds=(1,),
            seeds=2,
            functions=("rule_table",),
            inputs="",
        )
        return [tuple(cell.words) for cell in plan.cells().values() if cell.function]

    assert cells("model.num_frames=4") == [("model.num_frames=4",)]
