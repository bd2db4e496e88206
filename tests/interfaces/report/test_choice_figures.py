"""Pictures of a choice say in words what they show."""

from __future__ import annotations

from advisor.domain.candidate import Quality
from advisor.interfaces.report.choice_figures import by_data_size
from tests.recommender.conftest import make_candidate, quantity


def test_the_learning_curve_is_told_from_its_first_size_to_its_last() -> None:
    sizes = {100: -3.0, 1_000: -1.0, 10_000: 0.5}
    qualities = {
        size: Quality(effect=quantity(mid, "score", 2.0), within_one_point=0.5, studies=3, evidence="3 studies")
        for size, mid in sizes.items()
    }
    figure = by_data_size(qualities, make_candidate("lora"))
    assert figure.alt == "-3.0 points at 100 samples and +0.5 points at 10,000 samples."
    assert [row[0] for row in figure.rows] == ["100", "1,000", "10,000"]
