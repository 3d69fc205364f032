"""Warm models are built once, in the background when a front is shown, and again when that went wrong."""

from __future__ import annotations

import threading

import pytest

from app.errors import UserError
from app.jobs.progress import Silent
from app.selection.limits import Limits
from app.services import frontiers, models, questions
from app.services.context import Context
from tests.api.test_question_routes import put_costs
from tests.api.tiny import tiny_network


@pytest.fixture
def record(settings):
    with Context(settings) as context:
        model, _ = models.add(context, tiny_network(), name="tiny", file_name="tiny.onnx")
        put_costs(context, model)
        yield context, frontiers.trace(context, model, context.device("host"), "arena", Silent())


def test_a_question_waits_for_the_model_that_is_being_built(record, monkeypatch):
    context, front = record
    built, go = [], threading.Event()
    real = questions.WarmModel

    def slowly(*given):
        built.append(given)
        assert go.wait(60)
        return real(*given)

    monkeypatch.setattr(questions, "WarmModel", slowly)
    thread = questions.prepare(context, front)
    assert questions.prepare(context, front) is None
    answers = []
    asking = threading.Thread(
        target=lambda: answers.append(questions.what_if(context, front, limits=Limits(forbid=("fft",))))
    )
    asking.start()
    go.set()
    asking.join(60)
    thread.join(60)
    assert len(built) == 1
    assert answers[0]["answered_from"] == "model"
    assert questions.prepare(context, front) is None


def test_a_model_that_could_not_be_built_is_tried_again_by_the_question(record, monkeypatch):
    context, front = record
    real, tries = questions.WarmModel, []

    def failing_once(*given):
        tries.append(given)
        if len(tries) == 1:
            raise UserError("no-primitive", "not this time")
        return real(*given)

    monkeypatch.setattr(questions, "WarmModel", failing_once)
    questions.prepare(context, front).join(60)
    assert questions.what_if(context, front, limits=Limits(forbid=("fft",)))["answered_from"] == "model"
    assert len(tries) == 2
