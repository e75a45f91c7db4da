"""From a benchmark's records to users: one user's records joined, in order, and without leaks."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from .dataset import TextDataset, TextSample, TextUser
from .leaks import Text, Unseen

_DATE = re.compile(r"(\d{4})(?:-(\d{1,2}))?(?:-(\d{1,2}))?(?!\d)")


@dataclass(frozen=True)
class AuthorSample:
    """One sample of a record: what it is about, without the instruction, and its output."""

    id: str
    body: str
    output: str
    date: int | None = None

    @property
    def text(self) -> Text:
        """What may be compared with a test's."""
        return Text(self.body, self.output)


@dataclass(frozen=True)
class AuthorRecord:
    """One question of a benchmark with the profile that comes with it.

    ``user_id`` is None where the data does not say whose it is: then it is a user of its own.
    ``input`` is the question as published, the same as the instruction and ``item.body``.
    """

    user_id: str | None
    input: str
    item: AuthorSample
    profile: Sequence[AuthorSample]


@dataclass
class LeftOut:
    """What is left out, counted by what it is, in the order in which it was first met."""

    counts: Counter[str] = field(default_factory=Counter)

    def add(self, what: str, count: int = 1) -> None:
        """Count more of it."""
        if count:
            self.counts[what] += count


def as_date(value: object) -> int | None:
    """A date as a number that sorts: "2017-01-31" is 20170131, 2017 is 20170000, else None."""
    match = _DATE.match(str(value).strip()) if value is not None else None
    if not match:
        return None
    year, month, day = (int(part or 0) for part in match.groups())
    return year * 10_000 + month * 100 + day


def join_users(
    name: str,
    records: Sequence[AuthorRecord],
    earlier: Sequence[AuthorRecord],
    question: Callable[[AuthorSample], str],
    left_out: LeftOut,
) -> TextDataset:
    """Make users of records.

    A user's history is what *all* of their tests' profiles hold, and their records of an earlier
    split: what only a later test's profile holds may be later than an earlier test. What of it is
    kept, see ``make_user``.

    Args:
        name: Of the data.
        records: To test on, in the order of the data.
        earlier: Of an earlier split; those of other users are not used.
        question: From an item to what the benchmark would ask for it.
        left_out: Added to; it ends in ``about``.
    """
    before: dict[str, list[AuthorRecord]] = {}
    for record in earlier:
        if record.user_id is not None:
            before.setdefault(record.user_id, []).append(record)
    users = []
    for user_id, own in _by_user(records).items():
        profile = _in_all([_without_repeats(record.profile, left_out) for record in own])
        past = _with_records(profile, before.get(user_id, []))
        if user := make_user(user_id, past, own, question, left_out):
            users.append(user)
    about = {
        "records": len(records),
        "users": len(users),
        "left_out": dict(left_out.counts),
    }
    return TextDataset(name, tuple(users), about)


def make_user(
    user_id: str,
    past: Sequence[AuthorSample],
    records: Sequence[AuthorRecord],
    question: Callable[[AuthorSample], str],
    left_out: LeftOut,
) -> TextUser | None:
    """A user of what is their past and their records to test on.

    Where there are dates, only what is dated before every test that has a date is kept. Whatever
    is one of the tests' own texts is left out.

    Args:
        user_id: Whose they are.
        past: In the order of the data, without repeats.
        records: To test on, in the order of the data; what is their profile does not count.
        question: From an item to what the benchmark would ask for it.
        left_out: Added to.

    Returns:
        The user; None where no past is left.
    """
    tests = [record.item for record in records]
    history = _before(_without_leaks(past, tests, left_out), tests, left_out)
    if not history:
        left_out.add("records whose user has no past samples", len(records))
        return None
    return _user(user_id, history, records, question)


def _by_user(records: Iterable[AuthorRecord]) -> Mapping[str, list[AuthorRecord]]:
    found: dict[str, list[AuthorRecord]] = {}
    for record in records:
        found.setdefault(record.item.id if record.user_id is None else record.user_id, []).append(
            record
        )
    return found


def _without_repeats(items: Sequence[AuthorSample], left_out: LeftOut) -> list[AuthorSample]:
    unique: dict[tuple[str, str, int | None], AuthorSample] = {}
    for item in items:
        unique.setdefault((item.body, item.output, item.date), item)
    left_out.add("past samples that are there twice", len(items) - len(unique))
    return list(unique.values())


def _in_all(profiles: Sequence[Sequence[AuthorSample]]) -> list[AuthorSample]:
    """The items of the first profile that all the others have, whatever their ids there."""
    others = [{(item.body, item.output) for item in profile} for profile in profiles[1:]]
    return [
        item for item in profiles[0] if all((item.body, item.output) in other for other in others)
    ]


def _with_records(
    profile: Sequence[AuthorSample], earlier: Sequence[AuthorRecord]
) -> list[AuthorSample]:
    """The profile, and the records of the earlier split that it does not hold already.

    Such a record is dated as the last of its own profile, which it followed.
    """
    samples = list(profile)
    seen = {(item.text.body_words, item.text.output_words) for item in profile}
    for record in earlier:
        text = record.item.text
        if (text.body_words, text.output_words) in seen or not record.item.output.strip():
            continue
        dates = [item.date for item in record.profile if item.date is not None]
        date = record.item.date or max(dates, default=None)
        samples.append(replace(record.item, date=date))
    return samples


def _without_leaks(
    history: Sequence[AuthorSample], tests: Sequence[AuthorSample], left_out: LeftOut
) -> list[AuthorSample]:
    unseen = Unseen(test.text for test in tests)
    kept = [item for item in history if not unseen.holds(item.text)]
    left_out.add("past samples that are a test's own text", len(history) - len(kept))
    return kept


def _before(
    history: Sequence[AuthorSample], tests: Sequence[AuthorSample], left_out: LeftOut
) -> list[AuthorSample]:
    """In the order of time where there are dates: only what has one, from before the first test."""
    if all(item.date is None for item in history):
        return list(history)
    dated = [item for item in history if item.date is not None]
    left_out.add("past samples without a date among dated ones", len(history) - len(dated))
    limits = [test.date for test in tests if test.date is not None]
    kept = [i for i in dated if i.date is not None and (not limits or i.date < min(limits))]
    left_out.add("past samples that are not earlier than a test", len(dated) - len(kept))
    return sorted(kept, key=lambda item: item.date or 0)


def _user(
    user_id: str,
    history: Sequence[AuthorSample],
    records: Sequence[AuthorRecord],
    question: Callable[[AuthorSample], str],
) -> TextUser:
    dated = history[0].date is not None
    times = [item.date or 0 if dated else number for number, item in enumerate(history, 1)]
    ids = _distinct([item.id for item in history])
    past = tuple(
        TextSample(sample_id, question(item), item.output, time)
        for sample_id, item, time in zip(ids, history, times, strict=True)
    )
    last = times[-1]
    tests = []
    # A test without a date comes after all that is known of its user, in the order of the data.
    for number, record in enumerate(records, 1):
        time = record.item.date if dated and record.item.date else last + number
        tests.append(TextSample(record.item.id, record.input, record.item.output, time))
    return TextUser(user_id, past, tuple(sorted(tests, key=lambda test: test.timestamp)))


def _distinct(ids: Sequence[str]) -> list[str]:
    """The ids; where two are equal, each with its number: "7#1", "7#2"."""
    if len(set(ids)) == len(ids):
        return list(ids)
    return [f"{name}#{number}" for number, name in enumerate(ids, 1)]
