"""An audit as people and programs read it."""

from __future__ import annotations

import json

import pytest

from advisor.domain.profile import HeldOut
from advisor.errors import BadRequest
from advisor.estimator.audit import Audit, AuditRow, plot


@pytest.fixture
def made():
    rows = [
        AuditRow(
            profile=f"run-{i}",
            device="L40S",
            model="m",
            method="lora" if i % 2 else "full",
            target=target,
            measured=value * (1 + i),
            predicted=value * (1 + i) * 1.02,
            low=value,
            high=value * 9,
            error=0.02,
            inside=True,
        )
        for target, value in (("step_time", 0.1), ("peak_reserved", 2e10))
        for i in range(3)
    ]
    held = HeldOut(target="step_time", scheme="leave-one-run", runs=3, median=0.02, p90=0.02, worst=0.02, coverage=1.0)
    return Audit(scheme="leave-one-run", summary=(held,), rows=tuple(rows), notes=("left out run-9: no trace",))


@pytest.mark.parametrize("ending", [".html", ".svg"])
def test_a_plot_is_written_and_names_what_it_shows(made, tmp_path, ending):
    pytest.importorskip("altair")
    path = plot(made, tmp_path / f"audit{ending}")
    text = path.read_text()
    assert "peak reserved" in text
    assert "predicted" in text


def test_a_plot_of_another_kind_is_refused(made, tmp_path):
    with pytest.raises(BadRequest, match=r"not \.pdf"):
        plot(made, tmp_path / "audit.pdf")


@pytest.mark.parametrize("as_json", [True, False])
def test_the_command_prints_every_run(made, monkeypatch, capsys, as_json):
    from advisor.estimator import audit as module
    from advisor.interfaces.cli.audit import command

    monkeypatch.setattr(module, "audit", lambda *_, **__: made)
    command.main(["--json"] if as_json else [], standalone_mode=False)
    printed = capsys.readouterr().out
    assert "run-2" in printed
    assert "run-9" in printed
    if as_json:
        assert json.loads(printed)["summary"][0]["median"] == 0.02


def test_the_calibrate_command_shows_constants_and_errors(monkeypatch, capsys):
    from pathlib import Path

    from advisor import store
    from advisor.domain.profile import Calibration
    from advisor.estimator import calibrate as module
    from advisor.interfaces.cli.calibrate import command

    shipped = store.read(Calibration, Path(__file__).parents[2] / "calibration" / "l40s.json")
    monkeypatch.setattr(module, "calibrate", lambda *_, **__: (shipped,))
    command.main(["--dry-run"], standalone_mode=False)
    printed = capsys.readouterr().out
    assert "matmul_half" in printed
    assert "leave-one-method" in printed
    command.main(["--dry-run", "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)[0]["device"] == "L40S"
