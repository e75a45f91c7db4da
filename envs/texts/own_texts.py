"""People's own records as data: each user's past, the later records to test on, and no leaks."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from ...errors import TrimtabError
from ..shop.records import SPLITS
from .authors import AuthorRecord, AuthorSample, LeftOut, make_user
from .dataset import TextDataset, TextUser
from .leaks import words
from .own_records import EXPECTED, OwnRecord, read_own_records

_ONE_TEST_IN = 5
# An input that so many different texts of one user answer tells none of them from another.
_INSTRUCTION_OF = 3


def missing_data() -> str:
    """What to say where data is wanted and none was given."""
    return f"texts has no built-in data; give --data a file of your own records; {EXPECTED}"


def load_own_texts(path: Path | str) -> TextDataset:
    """Read a file of people's own records.

    Records without a ``split`` are divided by time, or by their order in the file where there are
    no times: each user's latest fifth, at least one, are tests. With one, and without times, what
    is marked ``train`` counts as earlier than what is marked ``test``.

    Args:
        path: ``.jsonl``, ``.csv`` or ``.tsv``, plain or gzip.

    Raises:
        TrimtabError: It is missing, broken or another benchmark's, a test has no input, or no
            user is left; one line.
    """
    path = Path(path).expanduser()
    records = read_own_records(path)
    left_out = LeftOut()
    by_user: dict[str, list[OwnRecord]] = {}
    for record in records:
        if record.output:
            by_user.setdefault(record.user, []).append(record)
        else:
            left_out.add("records without an output")
    made = [_user(path, user, own, left_out) for user, own in by_user.items()]
    users = tuple(user for user in made if user is not None)
    if not users:
        counts = ", ".join(f"{count} {what}" for what, count in left_out.counts.items())
        raise TrimtabError(f"{path}: no user has a past text and a later test; left out: {counts}")
    name = f"own texts ({path.name}{'' if records[0].unit else ', in the order of the file'})"
    about = {"records": len(records), "users": len(users), "left_out": dict(left_out.counts)}
    return TextDataset(name, users, about)


def _user(
    path: Path, user: str, records: Sequence[OwnRecord], left_out: LeftOut
) -> TextUser | None:
    own = _without_repeats(records, left_out)
    past, tests = _divided(own)
    if not past or not tests:
        what = "a single record" if len(own) == 1 else "no test" if past else "no past"
        left_out.add(f"users with {what}")
        return None
    for record in tests:
        if not record.input:
            why = "is marked a test" if record.split else f"is in the latest fifth of {user!r}"
            raise TrimtabError(
                f"{path}: line {record.line}, field input: expected what was asked, since the "
                f"record {why} and a test needs a request, got nothing; only the past can do "
                "without (the field split says which records are tests)"
            )
    bodies = _bodies(own)
    inputs = {record.id: record.input for record in own}

    def item(record: OwnRecord) -> AuthorSample:
        return AuthorSample(record.id, bodies[record.id], record.output, record.time)

    return make_user(
        user,
        [item(record) for record in past],
        [AuthorRecord(user, record.input, item(record), ()) for record in tests],
        lambda item: inputs[item.id],
        left_out,
    )


def _without_repeats(records: Sequence[OwnRecord], left_out: LeftOut) -> list[OwnRecord]:
    unique: dict[tuple[str, str, int | None, str], OwnRecord] = {}
    for record in records:
        unique.setdefault((record.input, record.output, record.time, record.split), record)
    left_out.add("records that are there twice", len(records) - len(unique))
    return list(unique.values())


def _divided(records: Sequence[OwnRecord]) -> tuple[list[OwnRecord], list[OwnRecord]]:
    """One user's past and tests, oldest first."""
    ordered = sorted(records, key=lambda record: record.time or 0)
    if ordered[0].split:
        train, test = ([r for r in ordered if r.split == split] for split in SPLITS)
        return train, test
    first = len(ordered) - max(len(ordered) // _ONE_TEST_IN, 1)
    return ordered[:first], ordered[first:]


def _bodies(records: Sequence[OwnRecord]) -> dict[str, str]:
    """What each of a user's records is about, by its id: its input, if that tells it from others.

    An input that several different texts answer, such as "Write a post.", is an instruction. Taken
    for what a record is about it would make each of those texts the same as a test.
    """
    answers: defaultdict[tuple[str, ...], set[tuple[str, ...]]] = defaultdict(set)
    asked = {record.id: words(record.input) for record in records}
    for record in records:
        answers[asked[record.id]].add(words(record.output))
    return {
        record.id: record.input if len(answers[asked[record.id]]) < _INSTRUCTION_OF else ""
        for record in records
    }
