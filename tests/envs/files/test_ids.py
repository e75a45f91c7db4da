"""Ids as one text: numbers in every writing, in every kind of data file."""

import json

import pytest

from trimtab.envs.bfcl.cases import load_bfcl
from trimtab.envs.files.ids import as_id
from trimtab.envs.importing import import_reviews
from trimtab.envs.shop.personalwab import load_world
from trimtab.envs.shop.report import check_world
from trimtab.envs.texts.lamp import LAMP, load_lamp
from trimtab.envs.texts.longlamp import load_longlamp
from trimtab.envs.texts.own_texts import load_own_texts
from trimtab.errors import TrimtabError

SEVEN = [7, 7.0, "7", " 7", "7.0"]
NONE = [7.5, True, [], float("nan"), 1e18, "1.23457E+11"]


def lines(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        *((seven, "7") for seven in SEVEN),
        *((none, None) for none in (*NONE, "", "  ", None)),
        (0, "0"), (-3.0, "-3"), (10**30, str(10**30)), ("007", "007"), ("7.50", "7.50"),
        ("1e10", "1e10"), ("A 7", "A 7"), (float(2**53), None), (2**53 - 1.0, str(2**53 - 1)),
    ],
)  # fmt: skip
def test_a_whole_number_is_one_text_and_other_numbers_are_no_id(raw, text):
    assert as_id(raw) == text


def own(user, number):
    return {"user": user, "input": f"Question {number}?", "output": f"Answer number {number}."}


def test_own_texts_have_one_user_for_each_writing_of_a_number(tmp_path):
    records = [own(seven, number) for number, seven in enumerate(SEVEN)]
    [user] = load_own_texts(lines(tmp_path / "mine.jsonl", records)).users
    assert user.id == "7"
    assert len(user.history) == 4


@pytest.mark.parametrize("seven", ["7", "7.0", '"7"'])
def test_a_column_of_numbers_names_the_same_user(tmp_path, seven):
    rows = [f"{seven},Question {n}?,Answer number {n}." for n in range(5)]
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(["user,input,output", *rows]))
    [user] = load_own_texts(path).users
    assert user.id == "7"


@pytest.mark.parametrize("none", NONE)
def test_what_is_no_id_is_refused_in_one_line(tmp_path, none):
    path = lines(tmp_path / "mine.jsonl", [own(7, 1), own(none, 2)])
    with pytest.raises(TrimtabError, match=r"line 2, field user: expected a text or a whole numb"):
        load_own_texts(path)


def lamp(folder, questions, golds):
    folder.mkdir()
    (folder / "dev_questions.json").write_text(json.dumps(questions))
    (folder / "dev_outputs.json").write_text(json.dumps({"task": "LaMP_4", "golds": golds}))
    return load_lamp(folder, LAMP["headlines"])


def asked(number, user):
    profile = [{"id": n, "text": f"Article {n}.", "title": f"Title {n}"} for n in (1.0, 2)]
    text = f"{LAMP['headlines'].question}What number {number} is about."
    return {"id": number, "input": text, "profile": profile, "user_id": user}


def test_lamp_matches_users_and_golds_whatever_their_writing(tmp_path):
    questions = [asked(number, seven) for number, seven in enumerate(SEVEN)]
    golds = [{"id": f"{number}.0", "output": f"Gold {number}"} for number in range(5)]
    [user] = lamp(tmp_path / "lamp", questions, golds).users
    assert user.id == "7"
    assert {test.id: test.output for test in user.tests} == {str(n): f"Gold {n}" for n in range(5)}
    with pytest.raises(TrimtabError, match=r"record \[0\], field user_id: expected a text or a wh"):
        lamp(tmp_path / "other", [asked(1, 7.5)], [{"id": 1, "output": "Gold"}])


def test_longlamp_has_one_author_for_each_writing_of_a_number(tmp_path):
    def record(name, number):
        question = f'Generate an abstract for the title "T{number}" using the following items: a.'
        papers = [{"id": 1.0, "title": "Earlier", "abstract": "We solved another task."}]
        return {"name": name, "input": question, "output": f"Text {number}.", "profile": papers}

    path = lines(tmp_path / "test.jsonl", [record(seven, n) for n, seven in enumerate(SEVEN)])
    [user] = load_longlamp(path).users
    assert (user.id, len(user.tests)) == ("7", 5)
    lines(path, [record(7, 1), record(7.5, 2)])
    with pytest.raises(TrimtabError, match=r"record \[1\], field name: .* a text or a whole numb"):
        load_longlamp(path)


def world(folder, seven):
    """A world whose only user, and whose product of the task, are called by a number."""
    folder.mkdir(exist_ok=True)
    product = {"parent_asin": 12.0, "title": "A mug"}
    bought = {"product_info": product, "review": {"rating": 5, "text": "Nice", "timestamp": 1}}
    task = {"user_id": seven, "task": "a mug", "type": "search", "timestamp": 2, "target": bought}
    files = {
        "all_products": {"12": product},
        "user_history": {str(seven): [bought]},
        "user_profiles": {"7": {"user_profile": {"Age": "old"}}},
        "user_instructions": {"train": [], "test": [task | {"id": 1}]},
    }
    for stem, content in files.items():
        (folder / f"{stem}.json").write_text(json.dumps(content))


@pytest.mark.parametrize("seven", SEVEN)
def test_a_world_s_histories_profiles_and_tasks_are_the_same_user_s(tmp_path, seven):
    world(tmp_path, seven)
    read = load_world(tmp_path)
    assert (read.users, [task.id for task in read.test]) == (["7"], ["1"])
    assert read.test[0].target.asin in read.products
    assert len(read.history("7", before=2)) == 1
    assert read.profile("7") == {"Age": "old"}
    assert check_world(tmp_path).users == 1


def test_a_world_s_ids_that_are_none_or_there_twice_are_told(tmp_path):
    world(tmp_path, 7)
    path = tmp_path / "user_history.json"
    history = json.loads(path.read_text())
    for other, told in [
        ("7.0", r"user '7.0': is there twice, as '7' too"),
        ("1.2E+11", r"user '1.2E\+11': expected a text or a whole number for an id"),
    ]:
        path.write_text(json.dumps(history | {other: []}))
        with pytest.raises(TrimtabError, match=told):
            load_world(tmp_path)
        report = check_world(tmp_path)
        assert any(other in str(problem) for problem in report.problems)
        assert report.users == 1
    world(tmp_path, 7.5)
    path.write_text("{}")
    with pytest.raises(TrimtabError, match=r"task \[0\], field user_id: .*whole number, got 7.5"):
        load_world(tmp_path)


@pytest.mark.parametrize("columns", [False, True])
def test_imported_logs_have_one_user_and_product_for_each_writing(tmp_path, columns):
    reviews = [
        {"user": SEVEN[n % 5], "product": [n, float(n), f"{n}.0"][n % 3], "rating": 5, "time": day}
        for n, day in enumerate(range(1_500_000_000, 1_500_864_000, 86_400))
    ]
    products = [{"product": str(n), "title": f"Mug of kind {n}"} for n in range(10)]
    if columns:
        rows = [",".join(map(str, record.values())) for record in reviews]
        log = tmp_path / "reviews.csv"
        log.write_text("\n".join(["user,product,rating,time", *rows]))
    else:
        log = lines(tmp_path / "reviews.jsonl", reviews)
    names = {name: name for name in ("user", "product", "rating", "time")}
    import_reviews(
        tmp_path / "world",
        [log],
        [lines(tmp_path / "products.jsonl", products)],
        mapping=names,
        product_mapping={"product": "product", "title": "title"},
    )
    read = load_world(tmp_path / "world")
    assert read.users == ["7"]
    assert {purchase.asin for purchase in read.histories["7"]} == {str(n) for n in range(10)}


def test_leaderboard_cases_find_their_answers_by_number(tmp_path):
    function = {"name": "f", "parameters": {"type": "dict", "properties": {}}}
    question = [[{"role": "user", "content": "ask"}]]
    cases = [{"id": n, "question": question, "function": [function]} for n in (7, 8.0)]
    answers = [{"id": name, "ground_truth": [{"f": {}}]} for name in ("7", 8)]
    (tmp_path / "possible_answer").mkdir()
    path = lines(tmp_path / "BFCL_v4_simple_python.json", cases)
    lines(tmp_path / "possible_answer" / path.name, answers)
    assert [case.id for case in load_bfcl(tmp_path).cases] == ["7", "8"]
    lines(path, [cases[0] | {"id": 7.5}])
    with pytest.raises(TrimtabError, match=r"line 1 is no case: expected an id, a text or a whole"):
        load_bfcl(tmp_path)
