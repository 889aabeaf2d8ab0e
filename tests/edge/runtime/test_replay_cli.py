"""A run of the whole device on real pictures, through a drift and with labels, plays again to the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import broker.journal
import edge_actors
from broker import cli, codec
from broker.journal import Checkpoint, Journal, Opening, read, segments
from broker.messages import (
    AdaptationDecided,
    DriftDetected,
    Frame,
    LabelAcknowledged,
    LabelAssigned,
    Message,
    SampleQuarantined,
    Tick,
    Vitals,
)
from edge_actors import wiring
from edge_actors.bundle import Bundle
from edge_actors.bundle.build import BuildOptions, build_bundle
from edge_actors.ports.snapshots import SnapshotStore
from edge_actors.replay_cli import Maker
from edge_actors.runtime.device import Device, Identity
from edge_actors.runtime.door import Doors
from edge_actors.runtime.recording import Outputs, Recording
from edge_actors.runtime.replay import replay
from edge_actors.settings import EdgeSettings
from edge_actors.training.digit_pictures import DigitPictures, digit_pictures
from tests.edge.runtime.scripted import BOOT, Sent

MODEL = Path(edge_actors.__file__).parent / "training" / "artifacts" / "digits_extractor.tflite"
NEW = ("7", "8")  # digits that the bundle does not know


@dataclass
class Run:
    """What a device left behind."""

    journal: Path
    bundle: Path
    other_bundle: Path
    sent: Sent


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    directory = tmp_path_factory.mktemp("run")
    digits = digit_pictures()
    made = Run(directory / "journal", directory / "digits.bundle", directory / "other.bundle", Sent())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(broker.journal, "SEGMENTS", 25)  # many borders to go over
        play(made, bundle_of(digits, made.bundle, seed=0), digits)
    bundle_of(digits, made.other_bundle, seed=1)
    return made


def bundle_of(digits: DigitPictures, path: Path, seed: int) -> Bundle:
    rows = zip(digits.pixels, digits.labels, digits.part, strict=True)
    known = [(pixels, label, "") for pixels, label, part in rows if part == "ref" and label not in NEW]
    bundle = build_bundle(known, MODEL.read_bytes(), BuildOptions(seed=seed))
    bundle.write(path)
    return bundle


def play(run: Run, bundle: Bundle, digits: DigitPictures) -> None:
    settings = EdgeSettings(bundle=run.bundle, device="dev1", camera="-", commissioning_frames=150, report_s=20.0)
    outputs, doors = Outputs(run.sent), Doors(wiring.DOORS)
    recording = Recording(Journal(run.journal, max_bytes=2 << 20), outputs)
    store = SnapshotStore(run.journal.parent / "snapshots", doors.post)
    identity = Identity(device="dev1", boot=BOOT, bundle=bundle.digest, settings=settings.as_text())
    actors = wiring.build(settings, bundle, outputs)
    device = Device(actors, doors, wiring.ROUTES, snapshots=store, identity=identity, recording=recording)
    for message in stream(digits, bundle, run.sent):
        device.admit(message)
        while (waiting := doors.take(0.0)) is not None:
            device.admit(waiting)
    assert device.failures == 0
    recording.close()
    store.close()


def stream(digits: DigitPictures, bundle: Bundle, sent: Sent) -> Iterator[Message]:
    """Digits it knows, then for every second frame one it does not; and a person who knows them."""
    chance = np.random.default_rng(0)
    camera = [at for at, part in enumerate(digits.part) if part == "stream"]
    new = [at for at in camera if digits.labels[at] in NEW]
    known = [at for at in camera if digits.labels[at] not in NEW]
    height, width, channels = bundle.input_shape
    for number in range(900):
        at = number / 5
        row = int(chance.choice(new if number > 400 and number % 2 else known))
        pixels = digits.pixels[row].tobytes()
        name = f"{BOOT}-{number}"
        yield Frame(at=at, frame=name, pixels=pixels, height=height, width=width, channels=channels)
        if number % 5 == 0:
            yield Tick(at=at, wall_us=1_700_000_000_000_000 + number * 200_000, clock="synced")
        if number % 25 == 0:
            yield Vitals(at=at, metrics={"fps": 5.0})
        if number == 750:
            for sample in sent.of(SampleQuarantined)[:3]:
                yield LabelAssigned(sample=sample.sample, revision=1, verdict="is", label="seven", by="v")


def test_the_run_has_everything_that_a_replay_could_get_wrong(run: Run) -> None:
    kinds = {type(message) for message in run.sent.messages()}
    assert {DriftDetected, SampleQuarantined, AdaptationDecided, LabelAcknowledged} <= kinds
    assert len(segments(run.journal)) > 10


def test_gives_the_same_records_again(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "records.cborseq"
    assert cli.main(["replay", str(run.journal), "--bundle", str(run.bundle), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("replayed 1,1")
    assert said.endswith(f" {len(run.sent.records)} records, the same bytes\n")
    assert list(codec.read_sequence(out.read_bytes())) == run.sent.records


def test_can_begin_at_any_segment(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    last = segments(run.journal)[-1]
    for name in (last.name, last.stem, last.stem.lstrip("0")):
        assert cli.main(["replay", str(run.journal), "--bundle", str(run.bundle), "--from", name]) == 0
    assert cli.main(["replay", str(last), "--bundle", str(run.bundle)]) == 0
    messages = sum(isinstance(item, bytes) for item in read(last))
    assert capsys.readouterr().out.count(f"replayed {messages} messages") == 4


def test_the_actors_keep_in_their_states_all_that_decides_what_they_do(run: Run) -> None:
    maker, device = Maker(run.bundle), None

    def make(opening: Opening, outputs: Outputs) -> Device:
        nonlocal device
        if device is not None:
            ended, _ = device._crew.take_states(Tick())
            for name, state in opening.states.items():
                assert codec.pack(state) == codec.pack(ended[name]), f"{name} at {opening.at} s"
        device = maker(opening, outputs)
        return device

    assert replay(read(run.journal), make).difference is None


def test_names_the_message_where_the_records_differ(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    items = list(read(run.journal))
    place = max(at for at, item in enumerate(items) if isinstance(item, Checkpoint) and item.records)
    forged = Journal(tmp_path, max_bytes=64 << 20)
    for at, item in enumerate(items):
        if isinstance(item, Opening):
            forged.begin(item)
        elif isinstance(item, Checkpoint):
            forged.checkpoint(Checkpoint(records=item.records, digest=bytes(32)) if at == place else item)
        else:
            forged.append(item)
    forged.close()
    assert cli.main(["replay", str(tmp_path), "--bundle", str(run.bundle)]) == 1
    number = sum(isinstance(item, bytes) for item in items[:place])
    assert f"the records first differ at message {number:,} (" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["{journal}", "--bundle", "{other_bundle}"], "the journal was recorded with the bundle"),
        (["{journal}", "--bundle", "{journal}"], "cannot be read"),
        (["{bundle}", "--bundle", "{bundle}"], "digits.bundle is"),
        (["{bundle}.none", "--bundle", "{bundle}"], "cannot be read: no such file"),
        (["{journal}", "--bundle", "{bundle}", "--from", "999"], "has no segment 999; it has 00000001.cborseq, "),
        (["{journal}", "--bundle", "{bundle}", "--out", "{journal}"], "cannot be written: is a directory"),
    ],
)
def test_says_in_a_sentence_what_is_wrong(
    run: Run, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["replay", *(argument.format(**vars(run)) for argument in arguments)]) == 2
    (said,) = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("INFO")]
    assert said.startswith("tinyml replay: ")
    assert sentence in said
