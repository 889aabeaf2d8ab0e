"""A failing actor costs its message, is rebuilt from its last good state, and may not fail for ever."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from broker import codec
from broker.messages import DeadLetter, Features, Frame, LabelAssigned, LogRecord, Message, Predictions, Tick
from edge_actors.errors import RestartBudgetSpentError, RestoreError
from edge_actors.runtime.seat import Factory
from edge_actors.runtime.supervision import MAX_PAYLOAD, reports_of
from tests.edge.runtime.scripted import (
    DOORS,
    ROUTES,
    Counter,
    Rig,
    Saver,
    Sender,
    Sent,
    Teller,
    device_of,
    frame,
)


def tick(at: float) -> Tick:
    return Tick(at=at)


def test_a_message_that_cannot_be_handled_becomes_a_dead_letter_with_its_payload() -> None:
    rig = Rig()
    rig.admit(tick(4.0), frame("half", at=5.0))
    letter, said = rig.sent.messages()
    assert isinstance(letter, DeadLetter)
    assert (letter.at, letter.where, letter.kind) == (5.0, "counter", "Frame")
    assert codec.decode(letter.payload) == replace(frame("half", at=5.0), pixels=b"")
    assert letter.reason.startswith("ValueError: half of frame 1 is missing")
    assert isinstance(said, LogRecord)
    assert (said.level, said.where) == ("error", "counter")
    assert "counter failed on Frame at scripted.py:" in said.text


def test_the_reason_names_no_address_so_that_a_replay_says_the_same() -> None:
    rig = Rig()
    rig.admit(frame("half"))
    assert "0x" not in rig.sent.of(DeadLetter)[0].reason
    assert "missing in <object object>" in rig.sent.of(DeadLetter)[0].reason


def test_nothing_of_what_an_actor_yielded_before_it_failed_is_delivered() -> None:
    rig = Rig()
    rig.admit(frame("half"))
    assert not [said for said in rig.sent.of(LogRecord) if said.text == "said before it failed"]


@pytest.mark.parametrize(
    ("name", "reason"), [("nan", "EncodeError: Features.residual"), ("undeclared", "UndeclaredMessageError: counter")]
)
def test_yielding_what_the_contract_does_not_allow_is_a_failure_of_the_actor(name: str, reason: str) -> None:
    rig = Rig()
    rig.admit(frame(name))
    (letter,) = rig.sent.of(DeadLetter)
    assert (letter.where, letter.kind) == ("counter", "Frame")
    assert letter.reason.startswith(reason)


def test_a_failure_deep_in_a_chain_leaves_the_actors_before_it_as_they_are() -> None:
    rig = Rig()
    rig.admit(frame("deep"), frame("fine"))
    (letter,) = rig.sent.of(DeadLetter)
    assert (letter.where, letter.kind) == ("teller", "Features")
    (said,) = rig.sent.of(Predictions)
    assert said.seconds == 2 / 7, "the counter goes on at two, the teller forgot what it added before it failed"


def test_an_actor_that_failed_goes_on_from_the_last_snapshot() -> None:
    rig = Rig()
    rig.admit(frame(), frame(), *map(tick, (2.0, 3.0, 4.0)))
    assert rig.saved.snapshots[0].states["counter"]["seen"] == 2
    rig.admit(frame(), frame("half"), frame("after"))
    assert rig.sent.of(Predictions)[-1].labels == ("after",)
    rig.device.stop()
    rig.device.run()
    assert rig.saved.snapshots[-1].states["counter"]["seen"] == 3, "two from the snapshot and the one after"
    assert rig.device.failures == 1


def test_without_a_snapshot_it_goes_on_from_where_the_device_started() -> None:
    first = Rig()
    first.admit(frame(), LabelAssigned(sample="s", label="cat"))
    first.device.stop()
    first.device.run()
    second = Rig()
    second.device.start_from(first.saved.snapshots[0])
    second.admit(LabelAssigned(sample="t", label="dog"), frame("deep"), frame("fine"))
    assert second.sent.of(Predictions)[0].labels == ("cat", "fine")


def test_the_state_a_failed_actor_goes_back_to_is_not_changed_by_what_it_does_then() -> None:
    rig = Rig()
    rig.admit(*map(tick, (1.0, 2.0, 3.0)))
    for _ in range(3):
        rig.admit(LabelAssigned(sample="s", label="cat"), frame("deep"))
    rig.admit(frame("fine"))
    assert rig.sent.of(Predictions)[0].labels == ("fine",)


def test_a_payload_is_cut_where_it_would_fill_the_spool() -> None:
    large = Features(frame="f" * 300_000)
    letter, _ = reports_of("teller", large, ValueError("no"), 1.0)
    assert isinstance(letter, DeadLetter)
    assert len(letter.payload) == MAX_PAYLOAD
    assert codec.encode(large).startswith(letter.payload)


def test_no_raw_picture_leaves_with_a_failure() -> None:
    rig = Rig()
    seen = replace(frame("half"), pixels=b"a face of somebody", height=2, width=3)
    rig.admit(seen)
    (letter,) = rig.sent.of(DeadLetter)
    assert b"face" not in codec.encode(letter)
    assert codec.decode(letter.payload) == replace(seen, pixels=b"")


def test_the_process_leaves_when_the_restarts_are_used_up_and_still_says_why() -> None:
    rig = Rig(restarts=2, within_s=60.0)
    rig.admit(frame("half", at=1.0), frame("half", at=2.0))
    with pytest.raises(RestartBudgetSpentError, match=r"the actor counter failed when 2 restarts in 60 s") as raised:
        rig.admit(frame("half", at=60.9))
    assert (raised.value.actor, raised.value.restarts) == ("counter", 2)
    assert len(rig.sent.of(DeadLetter)) == 3
    assert rig.saved.snapshots == []


def test_restarts_come_back_with_message_time() -> None:
    rig = Rig(restarts=2, within_s=60.0)
    rig.admit(*(frame("half", at=31.0 * number) for number in range(20)))
    assert len(rig.sent.of(DeadLetter)) == 20


def test_no_last_snapshot_is_taken_of_a_device_that_failed_too_often() -> None:
    rig = Rig(restarts=0)
    rig.device.doors.post(frame("half"))
    with pytest.raises(RestartBudgetSpentError):
        rig.device.run()
    assert rig.saved.snapshots == []


def test_a_sender_that_fails_is_reported_by_the_one_that_takes_its_place() -> None:
    rig = Rig()
    rig.admit(frame("unsendable"), frame("fine"))
    (letter,) = rig.sent.of(DeadLetter)
    assert (letter.where, letter.kind, letter.reason) == ("sender", "Predictions", "OSError: no way out")
    assert [said.labels for said in rig.sent.of(Predictions)] == [("fine",)]


def test_a_failure_to_send_a_report_is_counted_and_leads_to_no_other_report() -> None:
    rig = Rig()
    rig.admit(frame("chatter"))
    assert rig.device.failures == 1
    assert rig.sent.of(DeadLetter) == []
    assert [said.labels for said in rig.sent.of(Predictions)] == [("chatter",)]


class Mute(Sender):
    def receive(self, message: Any) -> tuple[()]:
        raise OSError("no way out for anything")


def only(**changed: Factory) -> dict[str, Factory]:
    return {"counter": Counter, "teller": Teller, "saver": Saver, "sender": lambda: Sender(Sent())} | changed


def test_a_device_that_cannot_even_report_leaves_instead_of_going_round() -> None:
    device = device_of(only(sender=lambda: Mute(Sent())), ROUTES, DOORS)
    device.admit(frame(at=1.0))  # the prediction, the dead letter and the log record: three failures
    assert device.failures == 3
    with pytest.raises(RestartBudgetSpentError, match="the actor sender failed"):
        device.admit(frame(at=2.0))


class Forgetful(Counter):
    def restore(self, state: dict[str, Any]) -> None:
        raise KeyError("seen")


def test_an_actor_that_cannot_go_back_ends_the_process_with_its_name() -> None:
    device = device_of(only(counter=Forgetful), ROUTES, DOORS)
    with pytest.raises(RestoreError, match="the actor counter cannot go back to its last good state: KeyError"):
        device.admit(frame("half"))


def test_an_actor_that_cannot_start_from_disk_ends_the_process_with_its_name() -> None:
    device = device_of(only(counter=Forgetful), ROUTES, DOORS)
    with pytest.raises(RestoreError, match="the actor counter"):
        device.resume(at=1.0, applied=1, states={"counter": {"other": 1}})


def test_a_state_that_no_snapshot_can_carry_is_a_failure_and_the_asker_is_told() -> None:
    rig = Rig()
    rig.admit(frame("spoil"), *map(tick, (2.0, 3.0, 4.0)))
    assert rig.saved.snapshots == []
    (letter,) = rig.sent.of(DeadLetter)
    assert (letter.where, letter.kind) == ("counter", "SnapshotRequested")
    assert "/spoiled is a set" in letter.reason
    assert "an actor cannot give its state" in [said.text for said in rig.sent.of(LogRecord)]
    rig.admit(*map(tick, (5.0, 6.0, 7.0)))
    assert len(rig.saved.snapshots) == 1, "the rebuilt actor has nothing spoiled any more"


class Interrupted(Counter):
    def receive(self, message: Frame) -> Any:
        raise KeyboardInterrupt


def test_a_person_who_interrupts_is_not_a_failure() -> None:
    device = device_of(only(counter=Interrupted), ROUTES, DOORS)
    with pytest.raises(KeyboardInterrupt):
        device.admit(frame())
    assert device.failures == 0


def test_the_same_failures_are_reported_in_the_same_bytes() -> None:
    def play() -> list[bytes]:
        rig = Rig()
        messages: list[Message] = [frame("half"), frame("deep", at=2.0), frame("nan", at=3.0), frame("spoil", at=3.5)]
        rig.admit(*messages, *map(tick, (4.0, 5.0, 6.0)))
        return rig.sent.records

    assert play() == play()
