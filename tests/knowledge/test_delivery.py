"""Notifications reach webhook and mail at least once, under one name, and the trying has an end."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from broker.errors import SettingsError
from ingest import cli
from ingest.knowledge import delivery
from ingest.knowledge.channels import signature
from ingest.knowledge.delivery import Delivery
from ingest.knowledge.notifications import write
from ingest.settings import IngestSettings
from ingest.stores.queries import query
from tests.contract.certificates import Authority
from tests.knowledge.fleet import Fleet
from tests.knowledge.servers import MailBox, Web

ADA = ("ada@example.org",)


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    """A server's side of TLS for 127.0.0.1, and the authority to trust."""
    authority = Authority(tmp_path_factory.mktemp("tls"))
    pair = authority.issue("box", address="127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    return context, authority.file


@pytest.fixture
def web() -> Iterator[Web]:
    with Web() as web:
        yield web


@pytest.fixture
def box() -> Iterator[MailBox]:
    with MailBox() as box:
        yield box


def settings(fleet: Fleet, **more: Any) -> IngestSettings:
    return IngestSettings(database=fleet.url, **more)


def by_mail(fleet: Fleet, box: MailBox, **more: Any) -> IngestSettings:
    said = {"smtp": f"smtp+plain://127.0.0.1:{box.port}", "mail_to": ADA, **more}
    return settings(fleet, **said)


def tell(
    fleet: Fleet, *titles: str, severity: str = "warning", channels: tuple[str, ...] = ("webhook", "mail")
) -> None:
    for title in titles:
        number = write(fleet.database, "test", severity, title, "It happened.", "Mend it.", "/devices/pi-1")
        values = {"ids": [number], "channels": list(channels)}
        fleet.database.execute(query("deliver", "ingest.knowledge"), values)


def states(fleet: Fleet) -> list[tuple[Any, ...]]:
    return fleet.rows("SELECT channel, state, tries FROM notification_delivery ORDER BY channel, notification")


def test_a_webhook_gets_each_notification_signed(fleet: Fleet, web: Web) -> None:
    tell(fleet, "one", "two", channels=("webhook",))
    chosen = settings(fleet, webhook=web.url, webhook_secret="s3cret", public_url="https://tinyml.example/")
    assert Delivery(chosen).run(fleet.database) == "2 delivered"
    assert Delivery(chosen).run(fleet.database) == ""
    first, second = web.posts
    said = json.loads(first.body)
    assert (said["title"], said["text"], said["action"]) == ("one", "It happened.", "Mend it.")
    assert said["link"] == "https://tinyml.example/devices/pi-1"
    assert said["uid"] == first.headers["Tinyml-Notification"] != second.headers["Tinyml-Notification"]
    proof = signature("s3cret", first.headers["Tinyml-Timestamp"], first.body)
    assert first.headers["Tinyml-Signature"] == f"sha256={proof}"
    assert states(fleet) == [("webhook", "sent", 1), ("webhook", "sent", 1)]


def test_a_webhook_that_fails_is_tried_again_later_with_the_same_name(fleet: Fleet) -> None:
    tell(fleet, "one", channels=("webhook",))
    with Web(500, 0, 302) as web:
        chosen = settings(fleet, webhook=web.url)
        for _ in range(4):
            Delivery(chosen).run(fleet.database)
            Delivery(chosen).run(fleet.database)  # not due
            fleet.passes(60)
    assert len(web.posts) == 4
    assert len({post.headers["Tinyml-Notification"] for post in web.posts}) == 1
    assert states(fleet) == [("webhook", "sent", 4)]


def test_the_pauses_grow_and_the_trying_has_an_end(fleet: Fleet) -> None:
    tell(fleet, "one", channels=("webhook",))
    chosen = settings(fleet, webhook="http://127.0.0.1:1/")
    pauses = []
    while fleet.rows("SELECT state FROM notification_delivery") == [("waiting",)]:
        assert Delivery(chosen).run(fleet.database) == "1 not delivered"
        ((pause, error),) = fleet.rows(
            "SELECT extract(epoch FROM next_try - now()), error FROM notification_delivery"
        )
        assert "cannot be reached" in error
        pauses.append(round(float(pause)))
        fleet.passes(4000)
    assert pauses[:4] == [10, 20, 40, 80]
    assert (pauses[-1], len(pauses)) == (3600, delivery.MOST_TRIES)
    assert states(fleet) == [("webhook", "failed", delivery.MOST_TRIES)]


def test_one_that_cannot_be_sent_holds_up_no_other(fleet: Fleet) -> None:
    tell(fleet, "one", "two", channels=("webhook",))
    with Web(500) as web:
        chosen = settings(fleet, webhook=web.url)
        Delivery(chosen).run(fleet.database)
        Delivery(chosen).run(fleet.database)
    assert states(fleet) == [("webhook", "waiting", 1), ("webhook", "sent", 1)]


def test_killed_between_sending_and_noting_it_sends_again_under_the_same_name(
    fleet: Fleet, web: Web, box: MailBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(fleet, "one", "two")
    chosen = by_mail(fleet, box, webhook=web.url)
    for channel in ("webhook", "mail"):
        work = Delivery(chosen)

        class Dying(psycopg.Connection[Any]):
            """Breaks when it is told of a success."""

        def execute(statement: Any, values: Any = None, channel: str = channel) -> Any:
            if isinstance(values, dict) and set(values) == {"channel", "ids"} and values["channel"] == channel:
                raise psycopg.OperationalError("killed")
            return fleet.database.execute(statement, values)

        dying: Any = type("Dying", (), {"execute": staticmethod(execute)})
        with pytest.raises(psycopg.OperationalError):
            work.run(dying)
    Delivery(chosen).run(fleet.database)
    names = [post.headers["Tinyml-Notification"] for post in web.posts]
    assert (len(names), len(set(names))) == (3, 2)
    assert len(box.mails) == 2
    assert box.mails[0]["Message-ID"] == box.mails[1]["Message-ID"]
    assert box.mails[0].get_content() == box.mails[1].get_content()
    assert {state for _, state, _ in states(fleet)} == {"sent"}


def test_what_is_not_critical_comes_in_one_mail_an_interval(fleet: Fleet, box: MailBox) -> None:
    chosen = by_mail(fleet, box, mail_from="tinyml@example.org")
    tell(fleet, "one", "two", channels=("mail",))
    Delivery(chosen).run(fleet.database)
    tell(fleet, "three", "four", channels=("mail",))
    Delivery(chosen).run(fleet.database)
    tell(fleet, "fire", severity="critical", channels=("mail",))
    Delivery(chosen).run(fleet.database)
    assert [mail["Subject"] for mail in box.mails] == ["[tinyml] 2 notifications, one ...", "[tinyml] fire"]
    fleet.passes(1000)
    Delivery(chosen).run(fleet.database)
    last = box.mails[-1]
    assert (last["From"], last["To"]) == ("tinyml@example.org", "ada@example.org")
    assert last["Message-ID"].endswith("@example.org>")
    text = last.get_content()
    assert "WARNING: three\nIt happened.\nMend it.\n/devices/pi-1" in text.replace("\r\n", "\n")
    assert "four" in text


def test_a_mail_that_is_refused_or_broken_off_is_the_same_mail_when_it_comes_again(
    fleet: Fleet, box: MailBox
) -> None:
    chosen = by_mail(fleet, box)
    tell(fleet, "one", channels=("mail",))
    box.answers.extend(["451 later", ""])
    for _ in range(3):
        Delivery(chosen).run(fleet.database)
        errors = fleet.rows("SELECT error FROM notification_delivery")
        if not box.mails:
            assert errors == [("the mail server answers 451 later",)]
        tell(fleet, "more", channels=("mail",))
        fleet.passes(60)
    first, again = box.mails
    assert first["Message-ID"] == again["Message-ID"]
    assert first.get_content() == again.get_content()


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_mail_goes_through_tls_with_a_password(fleet: Fleet, tls: tuple[ssl.SSLContext, Path], scheme: str) -> None:
    context, ca_file = tls
    tell(fleet, "one", channels=("mail",))
    with MailBox(context, tls_from_start=scheme == "smtps", user="ada", password="p ss:w%rd") as box:
        url = f"{scheme}://ada@127.0.0.1:{box.port}"
        said = {"smtp": url, "mail_to": ADA, "smtp_ca_file": str(ca_file)}
        wrong = Delivery(settings(fleet, **said, smtp_password="guess"))
        assert wrong.run(fleet.database) == "1 not delivered"
        assert "535" in fleet.rows("SELECT error FROM notification_delivery")[0][0]
        fleet.passes(60)
        foreign = Delivery(settings(fleet, smtp=url, mail_to=ADA, smtp_password="p ss:w%rd"))
        assert foreign.run(fleet.database) == "1 not delivered"
        assert "certificate" in fleet.rows("SELECT error FROM notification_delivery")[0][0]
        fleet.passes(60)
        assert Delivery(settings(fleet, **said, smtp_password="p ss:w%rd")).run(fleet.database) == "1 delivered"
        assert len(box.mails) == 1


def test_without_starttls_nothing_is_said(fleet: Fleet, box: MailBox) -> None:
    tell(fleet, "one", channels=("mail",))
    chosen = settings(fleet, smtp=f"smtp://ada@127.0.0.1:{box.port}", mail_to=ADA, smtp_password="x")
    assert Delivery(chosen).run(fleet.database) == "1 not delivered"
    assert "STARTTLS" in fleet.rows("SELECT error FROM notification_delivery")[0][0]


def test_a_title_cannot_add_a_header(fleet: Fleet, box: MailBox) -> None:
    tell(fleet, "one\r\nBcc: eve@example.org", "ünï", channels=("mail",))
    chosen = by_mail(fleet, box)
    assert Delivery(chosen).run(fleet.database) == "2 delivered"
    assert box.mails[0]["Bcc"] is None


def test_nothing_leaves_the_house_by_default(fleet: Fleet) -> None:
    work = Delivery(settings(fleet))
    assert (work.channels, work.run(fleet.database)) == ((), "")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"webhook": "ftp://host/x"}, "http or https"),
        ({"webhook": "http://"}, "and a host"),
        ({"smtp": "mail.example.org"}, "smtp://"),
        ({"smtp": "smtp://ada:secret@host", "mail_to": ADA}, "must not hold the password"),
        ({"smtp": "smtp://host", "mail_to": ()}, "mail_to"),
        ({"smtp": "smtp://host", "mail_to": ("ada",)}, "no mail address"),
        ({"smtp": "smtp://host", "mail_to": ("ada@x\r\nBcc: y@z",)}, "no mail address"),
        ({"smtp": "smtp://host", "mail_to": ADA, "smtp_password": "pässword"}, "ASCII"),
        ({"notify_mute": ("everything",)}, "there are incident"),
        ({"notify_per_hour": 0}, "1 to 1000"),
        ({"incident_devices": 1}, "2 to"),
        ({"incident_share": 1.5}, "0 to 1"),
        ({"mail_digest_s": -1.0}, "0 to"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_the_reason(said: dict[str, Any], why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        IngestSettings(**said)


def test_the_command_tries_every_channel_and_says_what_happened(
    fleet: Fleet, web: Web, box: MailBox, capsys: pytest.CaptureFixture[str]
) -> None:
    database = ["--database", fleet.url]
    assert cli.main(["notify", "--test", *database]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == ["webhook: not set up", "mail: not set up"]
    mail = ["--smtp", f"smtp+plain://127.0.0.1:{box.port}", "--mail-to", "ada@example.org"]
    assert cli.main(["notify", "--test", *database, "--webhook", web.url, *mail]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == ["webhook: sent", "mail: sent"]
    assert (len(web.posts), box.mails[0]["Subject"]) == (1, "[tinyml] This is a test")
    nobody = ["--smtp", f"smtp+plain://127.0.0.1:{box.port}", "--mail-to", "nobody@example.org"]
    assert cli.main(["notify", "--test", *database, "--webhook", "http://127.0.0.1:1/", *nobody]) == 1
    said = capsys.readouterr().out
    assert "webhook: FAILED: the webhook cannot be reached" in said
    assert "mail: FAILED: the mail server refuses nobody@example.org" in said
    assert cli.main(["notify", *database]) == 0
    assert capsys.readouterr().out.count("This is a test") == 3
