"""The application with a worker in this process, and a question whose step is known."""

from __future__ import annotations

import pytest

from tests.interfaces.web.asgi import Here, ask

RECIPE = {"model": "meta-llama/Llama-3.1-8B", "gpu": "H100", "method": "lora", "seq_len": "512", "samples": "2000"}


@pytest.fixture(scope="package")
def application():
    pytest.importorskip("fastapi")
    from advisor.interfaces.web import answer_finder
    from advisor.interfaces.web.application import application as made
    from advisor.interfaces.web.job_queue import JobQueue

    jobs = JobQueue(Here)
    with pytest.MonkeyPatch.context() as changed:
        # however busy the machine is
        changed.setattr(answer_finder, "QUICK_PATIENCE", 60.0)
        yield made(jobs, None, ahead=False)
    jobs.close()


@pytest.fixture(scope="package")
def recipe_page(application):
    """The whole page of a recipe, its answer in it."""
    return settled(application, "/recipe", RECIPE)


def settled(application, path, query, **more):
    """A page asked for until nothing in it is still being worked out."""
    for _ in range(200):
        told = ask(application, path, query, **more)
        if 'class="pending"' not in told.text and told.status != 503:
            return told
    raise AssertionError(told.text)
