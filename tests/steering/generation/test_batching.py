"""Calls from many threads: what is run together, in which order, and what a fault does."""

import threading
from concurrent.futures import CancelledError

import pytest

from trimtab.errors import TrimtabError
from trimtab.steering.generation import batching
from trimtab.steering.generation.batching import BatchedModel, run_together


@pytest.fixture(autouse=True)
def _however_slow_the_machine_is(monkeypatch):
    monkeypatch.setattr(batching, "_GLANCE_SECONDS", 60.0)
    monkeypatch.setattr(batching, "_PATIENCE_SECONDS", 60.0)


class Echo:
    """A model that answers each request with itself, and remembers its batches."""

    name = "echo"

    def __init__(self):
        self.batches = []
        self.threads = set()

    def generate(self, requests, **options):
        self.batches.append(list(requests))
        self.threads.add(threading.get_ident())
        if any(request == "crash" for request in requests):
            raise RuntimeError("out of memory")
        if any(request == "bad" for request in requests):
            raise TrimtabError("the prompt is too long")
        return [f"answer to {request}" for request in requests]

    def completions(self, requests, **options):
        yield from enumerate(self.generate(requests, **options))


def asking(model, name, calls):
    """A job that asks ``calls`` times, one request at a time."""

    def job():
        return [model.generate([f"{name}{call}"])[0] for call in range(calls)]

    return job


def ends(finished):
    return {end.index: end.value for end in finished}


def test_calls_of_all_live_jobs_are_one_batch_in_the_order_of_the_jobs():
    echo = Echo()
    model = BatchedModel(echo)
    got = ends(run_together(model, [asking(model, name, 2) for name in "abc"]))
    assert echo.batches == [["a0", "b0", "c0"], ["a1", "b1", "c1"]]
    assert got[1] == ["answer to b0", "answer to b1"]
    assert echo.threads == {threading.get_ident()}


def test_batches_are_the_same_every_time():
    def batches():
        echo = Echo()
        model = BatchedModel(echo)
        jobs = [asking(model, f"{n}:", 1 + n % 3) for n in range(20)]
        order = [end.index for end in run_together(model, jobs, max_live=6)]
        return order, echo.batches

    first = batches()
    assert len(first[1][0]) == 6
    assert all(batches() == first for _ in range(5))


def test_a_job_that_ends_makes_room_for_the_next():
    echo = Echo()
    model = BatchedModel(echo)
    jobs = [asking(model, "a", 1), asking(model, "b", 3), asking(model, "c", 2)]
    got = ends(run_together(model, jobs, max_live=2))
    assert echo.batches == [["a0", "b0"], ["b1", "c0"], ["b2", "c1"]]
    assert len(got) == 3


def test_a_job_that_raises_holds_up_nobody():
    echo = Echo()
    model = BatchedModel(echo)

    def dying():
        model.generate(["last words"])
        raise ValueError("dead")

    finished = list(run_together(model, [asking(model, "a", 3), dying, asking(model, "b", 3)]))
    assert [end.index for end in finished if end.error] == [1]
    assert isinstance(next(end for end in finished if end.error).error, ValueError)
    assert echo.batches[1:] == [["a1", "b1"], ["a2", "b2"]]


def test_a_failing_model_reaches_every_job_of_that_batch():
    echo = Echo()
    model = BatchedModel(echo)
    jobs = [lambda: model.generate(["crash"]), asking(model, "a", 1), lambda: "not in the batch"]
    finished = {end.index: end.error for end in run_together(model, jobs)}
    assert isinstance(finished[0], RuntimeError)
    assert isinstance(finished[1], RuntimeError)
    assert finished[2] is None


def test_bad_input_fails_only_the_job_that_sent_it():
    echo = Echo()
    model = BatchedModel(echo)
    jobs = [asking(model, "a", 1), lambda: model.generate(["bad"]), asking(model, "b", 1)]
    finished = {end.index: end for end in run_together(model, jobs)}
    assert isinstance(finished[1].error, TrimtabError)
    assert finished[0].value == ["answer to a0"]
    assert finished[2].value == ["answer to b0"]


def test_a_job_may_answer_the_error_and_go_on():
    echo = Echo()
    model = BatchedModel(echo)

    def stubborn():
        try:
            model.generate(["bad"])
        except TrimtabError:
            return model.generate(["good"])

    assert ends(run_together(model, [stubborn]))[0] == ["answer to good"]


def test_other_options_are_another_batch():
    echo = Echo()
    model = BatchedModel(echo)
    jobs = [(lambda n=n: model.generate([f"r{n}"], max_new_tokens=32 + n % 2)) for n in range(4)]
    list(run_together(model, jobs))
    assert sorted(echo.batches) == [["r0", "r2"], ["r1", "r3"]]


def test_a_call_of_several_requests_gets_its_own_answers():
    model = BatchedModel(Echo())
    jobs = [lambda: model.generate(["a", "b"]), lambda: model.generate([]), asking(model, "c", 1)]
    got = ends(run_together(model, jobs))
    assert got == {0: ["answer to a", "answer to b"], 1: [], 2: ["answer to c0"]}


def test_leaving_early_stops_the_jobs():
    model = BatchedModel(Echo())
    stopped = []

    def endless():
        try:
            while True:
                model.generate(["more"])
        except CancelledError:
            stopped.append(True)
            raise

    for end in run_together(model, [asking(model, "a", 2), endless, endless]):
        assert end.index == 0
        break
    assert stopped == [True, True]


def test_an_interrupt_in_the_model_stops_the_jobs():
    class Interrupted(Echo):
        def generate(self, requests, **options):
            if len(self.batches) == 1:
                raise KeyboardInterrupt
            return super().generate(requests, **options)

    model = BatchedModel(Interrupted())
    before = threading.active_count()
    finished = []
    with pytest.raises(KeyboardInterrupt):
        for end in run_together(model, [asking(model, "a", 1), asking(model, "b", 3)]):
            finished.append(end.value)
    assert finished == [["answer to a0"]]
    assert threading.active_count() == before


def test_outside_a_run_a_call_goes_straight_to_the_model():
    echo = Echo()
    assert BatchedModel(echo).generate(["a", "b"]) == ["answer to a", "answer to b"]
    assert BatchedModel(echo).name == "echo"


def test_threads_that_a_job_starts_belong_to_it():
    import contextvars

    echo = Echo()
    model = BatchedModel(echo)

    def nested():
        answers = []
        context = contextvars.copy_context()
        thread = threading.Thread(
            target=context.run, args=(lambda: answers.extend(model.generate(["inner"])),)
        )
        thread.start()
        thread.join()
        return answers

    got = ends(run_together(model, [nested, asking(model, "a", 1)]))
    assert got[0] == ["answer to inner"]
    assert echo.batches == [["inner", "a0"]]


def test_embeddings_are_run_together_before_what_they_lead_to():
    import torch

    class Encoder:
        name = "letters"

        def __init__(self):
            self.batches = []

        def encode(self, texts):
            self.batches.append(list(texts))
            return torch.tensor([[float(ord(text[0])), 1.0] for text in texts])

    echo = Echo()
    echo.encoder = Encoder()
    model = BatchedModel(echo)

    def remembering(letter):
        def job():
            rows = model.encoder.encode([letter, "z"])
            return model.generate([letter]), rows[:, 0].tolist()

        return job

    got = ends(run_together(model, [remembering("a"), asking(model, "q", 1), remembering("b")]))
    assert echo.encoder.batches == [["a", "z", "b"]]
    assert echo.batches == [["a", "q0", "b"]]
    assert got[2] == (["answer to b"], [98.0, 122.0])
    assert model.encoder.name == "letters"


def test_no_room_at_all_is_refused():
    with pytest.raises(TrimtabError, match="max_live"):
        list(run_together(BatchedModel(Echo()), [], max_live=0))


def test_a_job_ends_while_others_answers_are_under_way():
    told = []

    class OneByOne(Echo):
        def completions(self, requests, **options):
            for index, answer in enumerate(self.generate(requests, **options)):
                told.append(list(finished))
                yield index, answer

    model = BatchedModel(OneByOne())
    finished = []
    jobs = [asking(model, "a", 1), asking(model, "b", 2), asking(model, "c", 1)]
    for end in run_together(model, jobs):
        finished.append(end.index)
    # Before the second answer the first job has ended, before the third no other has: the second
    # job asks again, which waits for all that is under way.
    assert told == [[], [0], [0], [0, 2]]
    assert finished == [0, 2, 1]
    assert model.model.batches == [["a0", "b0", "c0"], ["b1"]]


def test_what_breaks_between_two_answers_leaves_those_that_ended():
    class Breaks(Echo):
        def completions(self, requests, **options):
            for index, request in enumerate(requests):
                if request == "bad0" or (request == "c0" and len(requests) > 1):
                    raise TrimtabError("the prompt is too long")
                yield index, f"answer to {request}"

    model = BatchedModel(Breaks())
    jobs = [asking(model, name, 1) for name in ("a", "bad", "c")]
    ended = {end.index: end for end in run_together(model, jobs)}
    assert ended[0].value == ["answer to a0"] and ended[2].value == ["answer to c0"]
    assert isinstance(ended[1].error, TrimtabError)
