import pytest

from trimtab.envs.texts.authors import AuthorRecord, AuthorSample, LeftOut, as_date, join_users


def item(name, date=None, body=None, output=None):
    return AuthorSample(name, body or f"body of {name}", output or f"output of {name}", date)


def record(name, profile, user="ann", date=None):
    return AuthorRecord(user, f"ask: body of {name}", item(name, date), profile)


def join(records, earlier=()):
    left_out = LeftOut()
    dataset = join_users("d", records, list(earlier), lambda i: f"ask: {i.body}", left_out)
    assert dataset.about["left_out"] == dict(left_out.counts)
    return dataset


def ids(samples):
    return [sample.id for sample in samples]


def test_a_record_is_a_user_with_a_numbered_past():
    [user] = join([record("t", [item("a"), item("b")], user=None)]).users
    assert user.id == "t"
    assert [(s.id, s.input, s.output, s.timestamp) for s in user.history] == [
        ("a", "ask: body of a", "output of a", 1),
        ("b", "ask: body of b", "output of b", 2),
    ]
    assert [(s.id, s.input, s.output, s.timestamp) for s in user.tests] == [
        ("t", "ask: body of t", "output of t", 3)
    ]


def test_dates_order_the_past_and_the_tests():
    profile = [item("new", 20200101), item("old", 20190101)]
    late, soon = record("late", profile, date=20220101), record("soon", profile, date=20210101)
    [user] = join([late, soon]).users
    assert ids(user.history) == ["old", "new"]
    assert [s.timestamp for s in user.history] == [20190101, 20200101]
    assert ids(user.tests) == ["soon", "late"]


def test_several_records_share_only_the_past_that_all_of_them_have():
    # Profile items may be numbered anew for each record; what tells them is their text.
    first = [item("a-1", body="x", output="y"), item("a-2")]
    second = [item("b-1", body="x", output="y"), item("b-2")]
    [user] = join([record("first", first), record("second", second)]).users
    assert ids(user.history) == ["a-1"]
    assert len(user.tests) == 2


def test_nothing_from_the_day_of_a_test_or_later_is_kept():
    profile = [item("before", 20200101), item("same", 20210101), item("after", 20220101)]
    data = join([record("t", profile, date=20210101)])
    assert ids(data.users[0].history) == ["before"]
    assert data.about["left_out"] == {"past samples that are not earlier than a test": 2}


def test_samples_without_a_date_among_dated_ones_are_left_out():
    data = join([record("t", [item("dated", 20200101), item("undated")])])
    assert ids(data.users[0].history) == ["dated"]
    assert data.about["left_out"] == {"past samples without a date among dated ones": 1}


def test_the_past_does_not_hold_any_of_the_user_s_tests():
    leak = item("again", body="Body of T2!", output="something")
    profile = [item("a"), leak]
    data = join([record("t1", profile), record("t2", profile)])
    assert ids(data.users[0].history) == ["a"]
    assert data.about["left_out"] == {"past samples that are a test's own text": 1}


def test_repeated_samples_count_once_and_equal_ids_are_told_apart():
    profile = [item("1", body="x"), item("1", body="y"), item("1", body="x")]
    data = join([record("t", profile)])
    assert ids(data.users[0].history) == ["1#1", "1#2"]
    assert data.about["left_out"] == {"past samples that are there twice": 1}


def test_a_user_without_a_past_is_left_out():
    data = join([record("t", [], user="bob"), record("s", [item("a")], user="ann")])
    assert [user.id for user in data.users] == ["ann"]
    assert data.about["left_out"] == {"records whose user has no past samples": 1}


def test_records_of_an_earlier_split_are_past_samples_of_the_same_user():
    train = record("train", [item("a", 20190101)])
    stranger = record("other", [item("c", 20190101)], user="bob")
    test = record("t", [item("a", 20190101), item("b", 20200101)])
    [user] = join([test], [train, stranger]).users
    assert ids(user.history) == ["a", "train", "b"]
    assert user.history[1].timestamp == 20190101  # as late as the last of its own profile


def test_a_record_that_the_profile_holds_already_is_not_there_twice():
    train = record("train", [])
    profile = [item("a"), item("p", body="Body of train", output="Output of train")]
    [user] = join([record("t", profile)], [train]).users
    assert ids(user.history) == ["a", "p"]


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("2017-01-31", 20170131),
        ("2017-01-31T10:00", 20170131),
        ("2017-1-3", 20170103),
        ("2017", 20170000),
        (2017, 20170000),
        ("", None),
        ("soon", None),
        (None, None),
        (1485820800, None),
    ],
)
def test_dates(text, date):
    assert as_date(text) == date
