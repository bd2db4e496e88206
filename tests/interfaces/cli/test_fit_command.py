"""What `advisor fit` prints: no name cut, however long the reason that something else cannot be priced."""

from __future__ import annotations

import pytest

from advisor.domain.quantity import Quantity
from advisor.domain.questions.fitting import Fitted, Fitting
from advisor.domain.units import GIB
from advisor.interfaces.cli.fit import fitting_table
from advisor.interfaces.cli.output import console
from tests.recommender.conftest import make_candidate


@pytest.mark.parametrize("width", [100, 140])
def test_a_long_refusal_breaks_over_lines_and_no_name_is_cut(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    need = Quantity.around(10 * GIB, 0.05, 0.1, "B", "modelled", "told")
    names = ("A100-80GB-SXM", "RTX-PRO-4500-Blackwell")
    found = Fitting(
        vary="gpu",
        value=names[0],
        says="of 3 GPUs 2 hold it",
        found=make_candidate("lora"),
        tried=(
            *(Fitted(name=name, fits=True, need=need, seconds=need.model_copy(update={"unit": "s"})) for name in names),
            Fitted(name="TPU-v5e", refusal="its memory cannot be predicted, for " + "a reason of many words " * 12),
        ),
    )
    for part in fitting_table(found):
        console().print(part)
    shown = capsys.readouterr().out
    assert all(name in shown for name in (*names, "TPU-v5e"))
    assert shown.count("yes") == len(names)
    assert max(map(len, shown.splitlines())) <= width
