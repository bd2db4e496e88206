"""From a question of the page to what is shown: found in the queue of jobs, quick where it can be, or how far it is."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from advisor.domain.candidate import Candidate
from advisor.domain.recommendation import Recommendation
from advisor.domain.units import duration
from advisor.errors import AdvisorError, BadRequest
from advisor.interfaces.priced_row import PricedRow
from advisor.interfaces.web.answer_views import rank_of, view_of_candidate, view_of_comparison, view_of_recommendation
from advisor.interfaces.web.job_queue import JobQueue, PageJob, QueueFull
from advisor.interfaces.web.questions import LONGEST, SLIDERS, FormName, arguments_of, two_recipes
from advisor.interfaces.web.worker_process import Reply

QUICK_PATIENCE: Final = 2.0
LIMITS: Final = ("budget_usd", "deadline_hours")
STATUSES: Final = {1: 500, 2: 400, 3: 422, 4: 400}
"""Exit code of an error -> HTTP status: wrong request, nothing fits, bad file; a name that nobody knows is 404."""
QUICK_RECIPE: Final = "Quick figures of a known step; the exact ones follow."
QUICK_LIMITS: Final = "Weighed anew from what was priced; the full answer follows."


@dataclass(frozen=True, slots=True)
class Answered:
    """What is shown: a view, an error, or `pending` in words; `quick` says what a view still lacks."""

    view: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    pending: str = ""
    quick: str = ""
    status: int = 200
    retry_after: int = 0
    rows: tuple[PricedRow, ...] = ()
    """What is priced so far of an answer that is pending."""

    @classmethod
    def failed(cls, error: AdvisorError | QueueFull | Mapping[str, Any]) -> Answered:
        """An error's view: the facts of one, or that too many questions wait."""
        if isinstance(error, QueueFull):
            told = {"error": "Busy", "message": str(error), "hints": [f"try again in {error.retry_after} s"]}
            return cls(error=told, status=503, retry_after=error.retry_after)
        facts = error.facts() if isinstance(error, AdvisorError) else dict(error)
        return cls(error=facts, status=error_status(facts))


def error_status(facts: Mapping[str, Any]) -> int:
    """The HTTP status of an error's facts."""
    if facts.get("error") == "UnknownName":
        return 404
    return STATUSES.get(int(facts.get("exit_code", 1)), 500)


class AnswerFinder:
    """Asks the queue. Raises everywhere as `arguments_of`, and QueueFull.

    Args:
        ahead: trace what a slider may ask next while nothing else is asked.
    """

    def __init__(self, jobs: JobQueue, *, ahead: bool = True) -> None:
        self.jobs, self.ahead = jobs, ahead
        self._being_prepared: PageJob | None = None

    async def answer(
        self, form: FormName, asked: Mapping[str, str], patience: float, *, quick: bool, seen: int | None = None
    ) -> Answered:
        """What is to be shown for a question.

        Args:
            patience: seconds that the exact answer is waited for.
            quick: first the quick figures, where there are; the exact answer is not begun then.
            seen: rows of a pending answer that are shown already; others are told at once. None: they can wait.
        """
        if form == "recommend":
            return await self._recommendation(asked, patience, seen, quick=quick)
        if form == "recipe":
            return await self._recipe(asked, patience, quick=quick)
        return await self._comparison(asked, patience)

    async def export(
        self, form: FormName, asked: Mapping[str, str], export: Mapping[str, str], patience: float
    ) -> Reply | None:
        """The export of an answer, as `advisor export --json` prints it; None while it is worked out.

        Args:
            export: the export's own options; `row` is the method of a ranking that is meant, else the best.

        Raises:
            AdvisorError: of the answer or of the export, as facts in a ReplyError.
        """
        document = await self._document(form, asked, patience)
        if document is None:
            return None
        options = dict(export)
        source = _row(document, options.pop("row", None)) if form == "recommend" else document
        return await self._told(self.jobs.ask("export", {"source": source, **options}), patience)

    async def report(self, form: FormName, asked: Mapping[str, str], patience: float) -> str | None:
        """The report of an answer as HTML; None while it is worked out."""
        document = await self._document(form, asked, patience)
        if document is None:
            return None
        return await self._told(self.jobs.ask("report", {"answer": document}), patience)

    async def _document(self, form: FormName, asked: Mapping[str, str], patience: float) -> Any:
        arguments = arguments_of(form, asked)
        found = await self._told(self.jobs.ask(form, arguments), patience)
        return found["candidate"] if found is not None and form == "recipe" else found

    async def _told(self, job: PageJob, patience: float) -> Any:
        reply = await job.settled(patience)
        if reply is not None and "error" in reply:
            raise ReplyError(reply["error"])
        return None if reply is None else reply["answer"]

    async def _recommendation(
        self, asked: Mapping[str, str], patience: float, seen: int | None, *, quick: bool
    ) -> Answered:
        arguments = arguments_of("recommend", asked)
        if self.jobs.known("recommend", arguments) is None and (limits := arguments.keys() & set(LIMITS)):
            # what all limits are weighed by is worked out first, and once
            whole = self.jobs.ask("recommend", {n: value for n, value in arguments.items() if n not in limits})
            if await whole.settled(patience, seen) is None:
                return Answered(pending=_progress(whole, "pricing"), rows=whole.rows)
            weighed = self._weighed(whole, arguments) if quick else None
            if weighed is not None:
                told = "pricing in full"
                return Answered(view_of_recommendation(weighed, asked), pending=told, quick=QUICK_LIMITS)
        job = self.jobs.ask("recommend", arguments)
        reply = await job.settled(patience, seen)
        if reply is None:
            return Answered(pending=_progress(job, "pricing"), rows=job.rows)
        if "error" in reply:
            return Answered.failed(reply["error"])
        return Answered(view_of_recommendation(_recommendation_of(job), asked))

    def _weighed(self, whole: PageJob, arguments: Mapping[str, Any]) -> Recommendation | None:
        """The answer without limits, weighed under them; None where that has to be asked in full."""
        from advisor.recommender.recommend import weighed_again

        if "error" in whole.reply.result():
            return None
        limits = {name: arguments[name] for name in LIMITS if name in arguments}
        return weighed_again(_recommendation_of(whole), policy=arguments.get("policy"), **limits)

    async def _recipe(self, asked: Mapping[str, str], patience: float, *, quick: bool) -> Answered:
        arguments = arguments_of("recipe", asked)
        if quick and self.jobs.known("recipe", arguments) is None:
            return await self._quick_recipe(arguments)
        job = self.jobs.ask("recipe", arguments)
        reply = await job.settled(patience)
        if reply is None:
            return Answered(pending=_progress(job, "tracing this step, once for all batches and lengths"))
        if "error" in reply:
            return Answered.failed(reply["error"])
        candidate = _candidate_of(job)
        if self.ahead:
            with contextlib.suppress(QueueFull):
                # the quick worker reads this step's trace before a slider is moved
                self.jobs.ask("quick", arguments, "quick")
        self._prepare(arguments, candidate)
        return Answered(view_of_candidate(candidate, reply["answer"]["wall"]))

    async def _quick_recipe(self, arguments: dict[str, Any]) -> Answered:
        job = self.jobs.ask("quick", arguments, "quick")
        reply = await job.settled(QUICK_PATIENCE)
        if reply is not None and "error" in reply:
            return Answered.failed(reply["error"])
        if reply is None or reply["answer"] is None:
            return Answered(pending="tracing this step, once for all batches and lengths")
        if job.value is None:
            job.value = Candidate.model_validate(reply["answer"])
        return Answered(view_of_candidate(job.value, quick=True), pending="replaying the allocator", quick=QUICK_RECIPE)

    async def _comparison(self, asked: Mapping[str, str], patience: float) -> Answered:
        jobs = [self.jobs.ask("recipe", arguments_of("recipe", recipe)) for recipe in two_recipes(asked)]
        replies = [await job.settled(patience) for job in jobs]
        for job, reply in zip(jobs, replies, strict=True):
            if reply is None:
                return Answered(pending=_progress(job, "tracing both steps"))
            if "error" in reply:
                return Answered.failed(reply["error"])
        return Answered(view_of_comparison(_candidate_of(jobs[0]), _candidate_of(jobs[1])))

    def _prepare(self, arguments: Mapping[str, Any], candidate: Candidate) -> None:
        """Have a rank beside this one traced, so that the slider finds it known: one at a time, when nothing waits."""
        rank, marks = rank_of(candidate), SLIDERS["rank"]
        if not self.ahead or not isinstance(rank, int) or rank not in marks:
            return
        at = marks.index(rank)
        for other in (*marks[at + 1 : at + 2], *marks[max(0, at - 1) : at]):
            asked = {**arguments, "rank": int(other)}
            free = self._being_prepared is None or self._being_prepared.reply.done()
            if free and self.jobs.idle() and self.jobs.known("recipe", asked) is None:
                self._being_prepared = self.jobs.ask("recipe", asked)


class ReplyError(AdvisorError):
    """An error that a worker told; its facts are those that the verb raised it with."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        super().__init__(str(told.get("message", "")), cause=str(told.get("cause", "")), hints=told.get("hints", ()))
        self.told = dict(told)

    def facts(self) -> dict[str, Any]:
        """As they were told."""
        return self.told


def _row(document: Mapping[str, Any], method: str | None) -> Any:
    """A ranked recipe by its method; the best where none is said."""
    ranked: list[Any] = document["ranked"]
    if method is None:
        return ranked[0]
    names = [one["recipe"]["method"] for one in ranked]
    if method not in names:
        hints = [f"ranked: {', '.join(names)}"]
        raise BadRequest(f"{method[:LONGEST]} is not among the ranked recipes", hints=hints, field="row")
    return ranked[names.index(method)]


def _recommendation_of(job: PageJob) -> Recommendation:
    if job.value is None:
        job.value = Recommendation.from_document(job.reply.result()["answer"])
    return job.value


def _candidate_of(job: PageJob) -> Candidate:
    if job.value is None:
        job.value = Candidate.model_validate(job.reply.result()["answer"]["candidate"])
    return job.value


def _progress(job: PageJob, doing: str) -> str:
    """What is being done, for how long it has been, and about how long is left."""
    so_far = f"{duration(max(1.0, round(job.seconds)))} so far"
    if job.progress is None:
        return f"{doing}: {so_far}; the first time may take a minute"
    done, total, what = job.progress
    left = f", about {duration(max(1.0, round(job.seconds / done * (total - done))))} left" if 0 < done < total else ""
    return f"{doing} {done} of {total}{f': {what}' if what else ''}; {so_far}{left}"
