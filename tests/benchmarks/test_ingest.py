"""The ingest benchmark: its packets are what devices send, and it still runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from mqtt5 import PublishPacket, read

from benchmarks.ingest import __main__ as command
from benchmarks.ingest import packets, table
from broker import codec, topics
from broker.embedded import find_mosquitto
from broker.messages import Telemetry
from tests.support import missing

NOW_US = 1_790_000_000_000_000


@pytest.mark.parametrize("kind", ["drift", "telemetry", "long telemetry"])
def test_ready_made_packets_are_what_the_codec_would_have_written(kind: str) -> None:
    made = packets.build(kind, 9, packets.device_names(3), "b0000001-000001", now_us=NOW_US)
    seen = []
    for row in made.data:
        packet, size = read(memoryview(row.tobytes()))
        assert size == made.length
        assert isinstance(packet, PublishPacket)
        header, message = codec.decode_record(packet.payload)
        assert packet.topic == topics.full(header.device, topics.path_of(message))
        assert len(codec.encode(message, header)) == len(packet.payload)
        seen.append((header.device, header.seq - made.first_seq, header.wall_us - NOW_US))
        if isinstance(message, Telemetry):
            assert len(message.values) // 4 == len(message.names) * len(message.ages) // 4
    assert [device for device, _, _ in seen] == made.devices * 3
    assert [turn for _, turn, _ in seen] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert seen[-1][2] == 0  # the last one is of now, the others of before
    assert seen[0][2] < 0


def test_a_confirmed_range_is_found_among_the_packets() -> None:
    made = packets.build("drift", 12, packets.device_names(3), "b0000001-000001", now_us=NOW_US)
    span = made.span(made.devices[1], made.first_seq + 1, made.first_seq + 2)
    assert list(range(made.count))[span] == [4, 7]


def test_poison_is_what_it_says() -> None:
    made = packets.build("drift", 40, packets.device_names(2), "b0000001-000001", now_us=NOW_US)
    clean = made.data.copy()
    assert packets.poisoned(made, 10) == 4
    assert (made.data != clean).any(axis=1).sum() == 4


def test_the_table_shows_what_was_measured_and_nothing_else() -> None:
    cpu = {"worker_us": 1.0, "broker_us": 1.0, "database_us": 1.0, "publisher_us": 1.0}
    text = table.render({"drained": {"per_s": 50_000.0, **cpu}, "naive": {"per_s": 2000.0}}, "here", 3, 0.1)
    assert "| 50,000 |" in text
    assert "25.00 x as fast" in text
    assert "telemetry" not in text


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_it_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if find_mosquitto() is None:
        missing("mosquitto")
    page = tmp_path / "ingest.md"
    only = "drained,latency,telemetry,start,copy"
    assert command.main(["--quick", "--only", only, "--render", str(page), "--json", str(tmp_path / "f.json")]) == 0
    assert page.read_text().count("\n|") == 2 + 5
    assert "latency" in capsys.readouterr().out
