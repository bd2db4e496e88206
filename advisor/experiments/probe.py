"""The door of probes: a few short trainings on the user's own rows say which method, whether, and how much more data.

A probe begins where published studies leave each method and chooses every training by what it is expected to teach a
second: the method, the rate, the rows (and with them the steps) and the seed. What ended is kept in its folder, so a
probe that was stopped goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, Unpack

from advisor import store
from advisor.domain.questions.probing import ProbeAnswer, ProbeProgress
from advisor.domain.request.measuring_options import ProbeOptions
from advisor.errors import DoesNotFit
from advisor.experiments.cell_trainings import OutOfTime
from advisor.experiments.probe_answer import answer_of
from advisor.experiments.probe_query import ProbeQuery, checked_query, read_query
from advisor.experiments.probe_session import ProbeSession, Why

OUT: Final = "advisor-probe"
ANSWER_FILE: Final = "answer.json"


def probe(
    model: str,
    data: str,
    *,
    on_plan: Callable[[ProbeAnswer], None] = lambda planned: None,
    on_progress: Callable[[ProbeProgress], None] = lambda progress: None,
    **options: Unpack[ProbeOptions],
) -> ProbeAnswer:
    """Which method, go or no-go, and how many more rows, by a few short trainings on these rows.

    Args:
        model: a folder with weights or a cached Hub id.
        data: training rows. Scores are of `eval_data`, else of a tenth of the rows.
        on_plan: hears what is planned before anything is trained.
        on_progress: hears of each training as it begins, and once a second while it goes on.
        options: see `advisor.domain.request.measuring_options.ProbeOptions`.

    Raises:
        BadRequest: the question makes no sense, or its budget trains nothing; nothing was written.
        BadFile: a data file cannot be read.
        DoesNotFit: no training came to its end.
        KeyboardInterrupt: passed on; the same call goes on.
    """
    return _probed(checked_query(model, data, options), on_plan, on_progress)


def resume_probe(
    folder: str,
    *,
    hours: float | None = None,
    on_plan: Callable[[ProbeAnswer], None] = lambda planned: None,
    on_progress: Callable[[ProbeProgress], None] = lambda progress: None,
) -> ProbeAnswer:
    """Go on with the probe in a folder, for other `hours` where they are given. Raises as `probe`."""
    query = read_query(Path(folder))
    again = query.model_dump(exclude={"model", "data", "out", "hours"}) | {"hours": hours or query.hours, "out": folder}
    return _probed(checked_query(query.model, query.data, again), on_plan, on_progress)


def _probed(
    query: ProbeQuery, on_plan: Callable[[ProbeAnswer], None], on_progress: Callable[[ProbeProgress], None]
) -> ProbeAnswer:
    plan = query.plan
    folder = Path(query.out or f"{OUT}/{plan.id}").resolve()
    session = ProbeSession(
        plan=plan,
        folder=folder,
        device="cpu" if query.device == "cpu" else "cuda" if query.device == "cuda" else "auto",
        threads=query.threads,
        query=query,
        on_progress=on_progress,
    )
    session.begin(written=not query.dry_run)
    planned = answer_of(session, "planned", session.ahead())
    on_plan(planned)
    if query.dry_run:
        return planned
    why: Why
    with store.locked(folder / "session", 1.0):
        try:
            why = session.run()
        except OutOfTime:
            why = "time budget"
        if not session.done:
            reasons = sorted(set(session.failed.values())) or ["the time was over before a training ended"]
            raise DoesNotFit(
                "no training of the probe came to its end",
                cause="; ".join(reasons[:3]),
                hints=[f"logs: {folder}/cells/*/log.txt", f"more time: {session.resume()} --hours HOURS"],
                reasons=reasons,
            )
        found = answer_of(session, why, [])
        store.write(found, folder / ANSWER_FILE)
    return found
