"""Presence is decided by boot and session, whatever order statuses and births arrive in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.messages import Birth, CommandReported, ConfigReported, Header, ModelReported, Status
from ingest.consumers import remote
from ingest.embedded import Postgres
from ingest.intake import Record, gather, read
from ingest.stores.batch import Batch
from ingest.stores.events import PostgresEvents
from ingest.stores.presence import Standing, overrules
from tests.postgres import fresh_database
from tests.records import header, sent

HOME = "0a1b2c3d"
OTHER = "ffffffff"

standings = st.builds(
    Standing,
    boot=st.integers(1, 3).map(lambda count: f"{HOME}-{count:06d}"),
    session=st.integers(1, 3),
    mono_us=st.integers(0, 3),
    will=st.booleans(),
)


def last_word(said: Sequence[Standing]) -> Standing | None:
    known: Standing | None = None
    for standing in said:
        if overrules(standing, known):
            known = standing
    return known


@given(
    st.lists(standings, min_size=1, max_size=6).flatmap(lambda said: st.tuples(st.just(said), st.permutations(said)))
)
def test_the_order_of_arrival_does_not_matter(pair: tuple[list[Standing], list[Standing]]) -> None:
    said, shuffled = pair
    assert last_word(said) == last_word(shuffled)


@given(standings, standings)
def test_of_two_exactly_one_is_the_newer_unless_they_are_the_same(one: Standing, other: Standing) -> None:
    assert overrules(one, other) + overrules(other, one) == (one != other)


@given(standings, standings)
def test_a_will_never_overrules_a_later_session(will: Standing, later: Standing) -> None:
    if (later.boot, later.session) > (will.boot, will.session):
        assert not overrules(will, later)


def test_a_boot_is_compared_by_its_number_and_not_as_text() -> None:
    assert overrules(Standing(f"{HOME}-1000000", 1), Standing(f"{HOME}-999999", 9))


def test_a_new_installation_wins_when_it_speaks_and_the_old_ones_will_does_not() -> None:
    old, new = Standing(f"{HOME}-000900", 7), Standing(f"{OTHER}-000001", 1)
    assert overrules(new, old)
    assert not overrules(Standing(old.boot, old.session, will=True), new)


def test_what_a_person_brings_replaces_nothing_of_another_installation() -> None:
    old, new = Standing(f"{HOME}-000900", 7), Standing(f"{OTHER}-000001", 1)
    assert not overrules(new, old, live=False)
    assert overrules(new, None, live=False)
    assert overrules(Standing(old.boot, 8), old, live=False)


# ---- in the database -------------------------------------------------------------------------------------------


@pytest.fixture
def database(embedded_server: Postgres) -> Iterator[tuple[PostgresEvents, psycopg.Connection]]:
    for url in fresh_database(embedded_server):
        store = PostgresEvents(url)
        with psycopg.connect(url, autocommit=True) as eyes:
            yield store, eyes
        store.close()


def said(boot: int, mono_us: int = 0, installation: str = HOME) -> Header:
    return header(0, boot=f"{installation}-{boot:06d}", mono_us=mono_us)


def test_a_late_will_overrules_no_newer_birth(database: tuple[PostgresEvents, psycopg.Connection]) -> None:
    store, eyes = database
    store.store(Batch(births=[(said(2), Birth(session=1))], statuses=[(said(2), Status(state="online", session=1))]))
    store.store(Batch(statuses=[(said(1), Status(state="offline", session=4))]))
    assert eyes.execute("SELECT state, birth_boot FROM v_device").fetchall() == [("online", f"{HOME}-000002")]


def test_the_will_of_the_present_session_tells_that_the_device_is_gone(
    database: tuple[PostgresEvents, psycopg.Connection],
) -> None:
    store, eyes = database
    store.store(Batch(statuses=[(said(1, mono_us=500), Status(state="online", session=3))]))
    store.store(
        Batch(statuses=[(said(1, mono_us=100), Status(state="offline", session=3))])
    )  # made when it connected
    store.store(Batch(statuses=[(said(1, mono_us=900), Status(state="online", session=3))]))  # and this one was late
    assert eyes.execute("SELECT state FROM v_device").fetchall() == [("offline",)]


def test_within_one_batch_the_newest_wins(database: tuple[PostgresEvents, psycopg.Connection]) -> None:
    store, eyes = database
    births = [(said(boot), Birth(session=1, bundle=f"b{boot}")) for boot in (2, 3, 1)]
    store.store(Batch(births=births))
    assert eyes.execute("SELECT bundle FROM v_device").fetchall() == [("b3",)]


def test_a_device_that_was_set_up_anew_starts_over(database: tuple[PostgresEvents, psycopg.Connection]) -> None:
    store, eyes = database
    store.store(Batch(births=[(said(40), Birth(session=1, bundle="old"))]))
    store.store(Batch(births=[(said(1, installation=OTHER), Birth(session=1, bundle="new"))]))
    assert eyes.execute("SELECT bundle FROM v_device").fetchall() == [("new",)]


def test_what_an_earlier_installation_said_stays_old_however_late_it_arrives(
    database: tuple[PostgresEvents, psycopg.Connection],
) -> None:
    store, eyes = database
    late = Batch(
        births=[(said(40), Birth(session=1, bundle="old"))],
        statuses=[(said(40, mono_us=900), Status(state="stopped", session=1))],
        reports=[("config", said(40, mono_us=900), ConfigReported(revision=9))],
    )
    store.store(Batch(statuses=[(said(40, mono_us=100), Status(state="online", session=1))]))
    fresh = said(1, mono_us=50, installation=OTHER)
    store.store(
        Batch(
            births=[(fresh, Birth(session=1, bundle="new"))],
            statuses=[(fresh, Status(state="online", session=1))],
            reports=[("config", fresh, ConfigReported(revision=1))],
        )
    )
    slow = PostgresEvents(store.url)
    slow.store(late)  # by a worker that was slow, or from a broker with an old memory
    slow.close()
    known = "SELECT d.state, d.bundle, c.revision FROM v_device d JOIN v_device_config c USING (device)"
    assert eyes.execute(known.encode()).fetchall() == [("online", "new", 1)]


def test_an_earlier_installation_that_is_started_again_is_the_present_one(
    database: tuple[PostgresEvents, psycopg.Connection],
) -> None:
    store, eyes = database
    for about in (said(40), said(1, installation=OTHER), said(41)):  # the old card is put back
        store.store(Batch(statuses=[(about, Status(state="online", session=1))]))
    assert eyes.execute("SELECT state_boot FROM v_device").fetchall() == [(f"{HOME}-000041",)]


def test_neither_a_will_nor_an_old_status_is_a_sign_of_life(
    database: tuple[PostgresEvents, psycopg.Connection],
) -> None:
    store, eyes = database
    store.store(Batch(statuses=[(said(1, mono_us=5), Status(state="online", session=1))]))
    eyes.execute("UPDATE device SET heard_at = 'epoch'")
    for message in (Status(state="online", session=1), Status(state="offline", session=1)):
        topic, payload = sent(message, 0, boot=said(1).boot, mono_us=5)
        record = read(topic, payload)
        assert isinstance(record, Record)
        batch = Batch()
        gather([record], batch)
        store.store(batch)
    assert eyes.execute("SELECT state, extract(epoch FROM heard_at) FROM v_device").fetchall() == [("offline", 0)]


# ---- what people wanted of it ----------------------------------------------------------------------------------


def test_the_last_report_counts_whatever_order_they_arrive_in(
    database: tuple[PostgresEvents, psycopg.Connection],
) -> None:
    store, eyes = database
    for boot, mono_us, revision in ((2, 500, 7), (2, 400, 6), (1, 900, 5)):
        batch = Batch()
        reported = ConfigReported(revision=revision, applied={"report_s": str(revision)}, rejected={"broker": "no"})
        remote.config_reported(said(boot, mono_us), reported, batch)
        remote.model_reported(said(boot, mono_us), ModelReported(revision=revision, phase="trial"), batch)
        store.store(batch)
    assert eyes.execute("SELECT revision, applied, rejected, restart FROM v_device_config").fetchall() == [
        (7, {"report_s": "7"}, {"broker": "no"}, [])
    ]
    assert eyes.execute("SELECT revision, phase, progress FROM v_device_model").fetchall() == [(7, "trial", 0.0)]


def test_of_a_command_the_first_final_report_counts(database: tuple[PostgresEvents, psycopg.Connection]) -> None:
    store, eyes = database
    batch = Batch()
    for seq, (command, state) in enumerate(
        [("c1", "accepted"), ("c1", "done"), ("c1", "failed"), ("c2", "accepted"), ("c2", "running")], 1
    ):
        report = CommandReported(
            at=float(seq), command=command, verb="restart", state=state, result={"seq": str(seq)}
        )
        remote.command_reported(header(seq), report, batch)
    store.store(batch)
    assert eyes.execute("SELECT command, state, final, result FROM v_command ORDER BY command").fetchall() == [
        ("c1", "done", True, {"seq": "2"}),
        ("c2", "running", False, {"seq": "5"}),
    ]
