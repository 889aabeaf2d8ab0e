"""What people say of provisional samples gives the class its name."""

from __future__ import annotations

from edge_actors.algorithms.naming import MOST_STATEMENTS, Naming


def test_the_first_statement_names_a_class_and_a_second_voice_does_not_rename_it() -> None:
    naming = Naming()
    naming.say("novel-1", "s1", "pear")
    naming.say("novel-1", "s2", "quince")
    assert naming.names() == {"novel-1": "pear"}


def test_most_statements_win() -> None:
    naming = Naming()
    for sample, label in (("s1", "pear"), ("s2", "quince"), ("s3", "quince")):
        naming.say("novel-1", sample, label)
    assert naming.names() == {"novel-1": "quince"}


def test_a_statement_taken_back_leaves_the_others_to_speak() -> None:
    naming = Naming()
    naming.say("novel-1", "s1", "pear")
    naming.say("novel-1", "s2", "quince")
    naming.unsay("s1")
    assert naming.names() == {"novel-1": "quince"}
    naming.unsay("s2")
    assert (naming.names(), naming.class_of("s2")) == ({}, None)


def test_the_oldest_statements_give_way() -> None:
    naming = Naming()
    for number in range(MOST_STATEMENTS + 1):
        naming.say("novel-1", f"s{number}", "pear")
    assert naming.class_of("s0") is None
    assert naming.class_of("s1") == "novel-1"


def test_a_state_keeps_the_order_in_which_things_were_said() -> None:
    naming, other = Naming(), Naming()
    naming.say("novel-1", "z", "pear")
    naming.say("novel-1", "a", "quince")
    other.restore(naming.state())
    assert other.names() == {"novel-1": "pear"}
    assert other.state() == naming.state()
