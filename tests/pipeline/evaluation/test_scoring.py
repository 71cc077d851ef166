import numpy as np
import pytest

from pipeline.evaluation.scoring import Scores


@pytest.mark.parametrize(
    ("selector", "kept", "drawn", "expected"),
    [
        ("subset", 8.0, 6.0, []),
        ("subset", 8.0, 0.02 * 20, ["DEGENERATE_SELECTION"]),  # the tolerance alone keeps tokens
        ("subset", 8.0, 0.98 * 20, ["DEGENERATE_SELECTION"]),
        ("subset", 20.0, 6.0, ["WHOLE_SELECTION", "DEGENERATE_SELECTION"]),
        ("subset", 0.0, 6.0, ["EMPTY_SELECTION", "DEGENERATE_SELECTION"]),
        ("gumbel", 20.0, 17.0, ["WHOLE_SELECTION"]),
        ("gumbel", 0.0, 0.0, ["EMPTY_SELECTION"]),
        (None, 20.0, 20.0, []),
    ],
)
def test_warnings_compare_kept_and_usable_tokens(
    selector: str | None, kept: float, drawn: float, expected: list[str]
) -> None:
    logits, labels = np.zeros((2, 3)), np.zeros((2, 3), bool)
    a, b, c, d = (np.full(2, number) for number in (kept, drawn, 20.0, 100.0))
    scores = Scores(("A", "B"), logits, labels, a, b, c, d, failed={}, selector=selector)
    assert scores.warnings == expected
