"""`tinyml send`: a person tells a managed device what is wanted, and sees the answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from broker import cli, wishes
from broker.messages import Birth, CommandIssued
from tests.edge.remote.site import Site
from tests.support import wait_until

Send = Callable[..., tuple[int, str]]


@pytest.fixture
def send(site: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Send:
    monkeypatch.setattr(wishes, "QUIET_S", 0.1)
    monkeypatch.setattr(wishes, "LONGEST_S", 1.0)

    def run(*words: str, device: str = "dev1") -> tuple[int, str]:
        capsys.readouterr()
        where = ["--broker", site.setup.broker, "--root", site.setup.root]
        status = cli.main(["send", *where, device, *words])
        said = capsys.readouterr()
        return status, said.out + said.err

    return run


def test_settings_are_changed_one_by_one_replaced_and_unset(site: Site, send: Send, tmp_path: Path) -> None:
    status, said = send("config", "reading_s=0.5", "location=porch")
    assert (status, said.splitlines()[0]) == (0, "sent revision 1 to dev1")
    assert "  location = porch\n  reading_s = 0.5" in said

    status, said = send("config", "reading-s=0.7", "camera=-")
    assert status == 1
    assert "  location = porch\n  reading_s = 0.7" in said
    assert "camera refused: it cannot be set from afar" in said

    assert send("config", "--unset", "camera", "location")[0] == 0
    assert site.processes[0].settings.location == ""

    document = tmp_path / "dev1.toml"
    document.write_text("in_flight = 20\nlocation = 'gate'\n")
    status, said = send("config", str(document))
    assert (status, len(site.processes)) == (0, 2), "one of these needs a restart"
    assert send("config")[1].splitlines() == [
        "wanted, revision 4:",
        "  in_flight = 20",
        "  location = gate",
        "reported, revision 4:",
        "  in_flight = 20",
        "  location = gate",
    ]


def test_a_command_is_answered_and_taken_off_the_broker(send: Send) -> None:
    status, said = send("command", "diagnostics")
    assert status == 0
    assert '"device": "dev1"' in said
    assert send("command") == (0, "no command waits for dev1\n")
    status, said = send("command", "dance")
    assert status == 1
    assert "failed: there is no command 'dance'; there are diagnostics" in said
    assert send("command", "snapshot", "--deadline", "0s")[1].splitlines()[-1].startswith("expired: ")


def test_what_nobody_answers_waits_at_the_broker_and_can_be_withdrawn(send: Send) -> None:
    status, said = send("command", "snapshot", "--wait", "0.2", device="dev2")
    assert status == 1
    assert "the broker has never heard of dev2" in said
    assert "dev2 is not known: it is told when it is back" in said
    waiting = send("command", device="dev2")[1].split()
    assert waiting[1] == "snapshot"
    assert send("command", "--withdraw", waiting[0], device="dev2")[0] == 0
    assert send("command", device="dev2") == (0, "no command waits for dev2\n")
    assert send("command", "--withdraw", waiting[0], device="dev2")[0] == 2


def test_a_device_that_would_not_listen_is_not_told(site: Site, send: Send) -> None:
    site.stop()
    site.server.connection.publish(
        f"{site.server.root}/dev1/birth", site.record(Birth(mode="validated")), retain=True
    )
    wait_until(lambda: site.heard(Birth)[-1].mode == "validated")
    status, said = send("config", "reading_s=1")
    assert status == 2
    assert "dev1 runs in mode validated, which takes none of this; set it up with --mode managed" in said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("config", "nowhere.toml"),
            "cannot read nowhere.toml: No such file or directory; a change is written NAME=",
        ),
        (("config", "a.toml", "b.toml"), "one file at most"),
        (("config", "--unset", "fps"), "fps is not among the settings that are wanted of dev1"),
        (("command", "snapshot", "--deadline", "soon"), "'soon' is no time"),
        (("model", "nowhere.bundle"), "cannot read nowhere.bundle"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(send: Send, words: tuple[str, ...], sentence: str) -> None:
    status, said = send(*words)
    assert status == 2
    assert sentence in said


def test_a_command_that_was_issued_while_the_device_was_away_is_done_when_it_is_back(site: Site) -> None:
    site.stop()
    site.say("command/c9", CommandIssued(command="c9", verb="diagnostics"))
    site.start()
    wait_until(lambda: any(report.command == "c9" for report in site.reports()), 20)


def test_a_bundle_is_sent_and_followed_to_its_end(site: Site, send: Send, tmp_path: Path) -> None:
    assert send("model")[1].startswith("wanted, revision 0: the bundle it was set up with\nruns ")
    (tmp_path / "not.bundle").write_text("nothing")
    assert "is not a bundle; `tinyml bundle verify` says more" in send("model", str(tmp_path / "not.bundle"))[1]

    status, said = send("model", str(site.setup.bundle), "--wait", "20")
    assert status == 0
    assert said.splitlines()[0].startswith("sent revision 1 to dev1: ")
    assert "committed" in said, "it runs already"

    status, said = send("model", str(site.setup.bundle), "--url", "ftp://example.org/x", "--wait", "20")
    assert status == 0, "nor is anything fetched for it"
    assert send("model", "--original", "--wait", "20")[0] == 0
