import pytest

from trimtab.envs.texts.lamp import LAMP
from trimtab.errors import TrimtabError
from trimtab.eval.metrics import METRICS
from trimtab.eval.texts.kinds import TASKS, get_task

BUILT_IN = {"headlines", "abstracts"}


def test_all_tasks_are_there():
    assert set(TASKS) == {*LAMP, "abstracts", "texts"}
    for task in TASKS.values():
        assert set(task.metrics) <= set(METRICS)
        assert task.metrics[0] != "log-likelihood"
        assert all(task.metric(name).name == name for name in task.metrics)


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_built_in_data_needs_no_folder(name):
    one, again, other = (get_task(name).load(None, seed) for seed in (1, 1, 2))
    assert one.fingerprint == again.fingerprint != other.fingerprint
    assert len(one.users) == 100


@pytest.mark.parametrize("name", sorted(set(LAMP) - BUILT_IN))
def test_lamp_s_others_say_what_they_want(name):
    with pytest.raises(TrimtabError, match=r"give a folder with dev_questions.json and dev_out"):
        get_task(name).load(None, 0)


def test_own_texts_are_read_from_a_file_and_asked_for_with_an_example(tmp_path):
    with pytest.raises(TrimtabError, match=r'give --data a file .* such as {"user": "ann", "inp'):
        get_task("texts").load(None, 0)
    file = tmp_path / "mine.csv"
    file.write_text("user,input,output\nann,a?,b\nann,c?,d\n")
    [user] = get_task("texts").load(file, 0).users
    assert (user.history[0].output, user.tests[0].input) == ("b", "c?")


def test_labels_are_those_that_the_question_lists():
    for name in ("lamp-2n", "lamp-2m"):
        assert f"[{', '.join(TASKS[name].labels)}]" in LAMP[name].question
        assert len(TASKS[name].labels) == 15


def test_a_task_s_macro_f1_is_over_all_its_labels():
    total = TASKS["lamp-2m"].metric("macro-f1").total
    assert total([("comedy", "comedy")]) == pytest.approx(1 / 15)


def test_an_unknown_task_gets_the_nearest_name():
    with pytest.raises(TrimtabError, match="no task 'headline'; did you mean 'headlines'"):
        get_task("headline")
    with pytest.raises(TrimtabError, match="no task 'xyz'; tasks: headlines,"):
        get_task("xyz")
