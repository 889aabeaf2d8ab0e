"""`tinyml demo` keeps its promises, on the digits and on photographs, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from broker.embedded import find_mosquitto
from tests.support import wait_until

DATA = Path(__file__).parents[3] / "shared" / "data"  # photographs beside the repository, where there are any
PHOTOGRAPHS = DATA / "grocery8"
EXTRACTOR = DATA / "model" / "mobilenet_v1_1.0_224_quant_embedding_extractor.tflite"
DEMO = [sys.executable, "-m", "broker.cli", "demo", "--plain"]


def play(*more: str, timeout_s: float = 600) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*DEMO, *more], capture_output=True, text=True, timeout=timeout_s, check=False)


def figures(said: str, name: str) -> list[float]:
    """The numbers of one line of the table, a device each."""
    (line,) = re.findall(rf"^│ {name} +│(.*)│$", said, re.MULTILINE)
    return [float(text.strip(" %")) for text in line.split("│")]


def check(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stdout + done.stderr
    assert "BROKEN" not in done.stdout
    assert figures(done.stdout, "messages lost") == [0, 0, 0]
    assert figures(done.stdout, "messages stored twice") == [0, 0, 0]
    assert figures(done.stdout, "messages produced") == figures(done.stdout, "messages stored")
    assert figures(done.stdout, "labels sent") == figures(done.stdout, "labels proved applied")
    assert figures(done.stdout, "false alarms") == [0, 0, 0]
    assert min(figures(done.stdout, "accuracy before")) >= 80


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("broker", ["auto", "embedded"])
def test_the_day_on_the_digits_keeps_every_promise(broker: str) -> None:
    if broker == "auto" and find_mosquitto() is None:
        pytest.skip("without mosquitto, auto is the embedded broker, which another case tests")
    check(play("--once", "--broker", broker))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not EXTRACTOR.is_file(), reason="there are no photographs beside the repository")
def test_the_day_on_photographs_keeps_every_promise() -> None:
    check(play("--once", "--images", str(PHOTOGRAPHS), "--model", str(EXTRACTOR), timeout_s=850))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_when_it_is_interrupted_everything_it_started_ends(number: signal.Signals) -> None:
    with subprocess.Popen(DEMO, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        directory = None
        for line in demo.stdout:
            if found := re.search(r"files (/\S+)", line):
                directory = Path(found[1])
            if "control" in line and "frames" in line:  # the first status line: all devices run
                break
        started = _children_of(demo.pid)
        assert len(started) >= 6  # broker, database, worker, API, three devices; the database counts several
        demo.send_signal(number)
        demo.stdout.read()
    assert demo.returncode == 128 + signal.SIGINT
    assert directory is not None
    assert not directory.exists()
    wait_until(lambda: not [pid for pid in started if _alive(pid)])


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--images", "nowhere"], "--images and --model go together"),
        (["--images", "nowhere", "--model", "nothing.tflite"], "the model nothing.tflite cannot be read"),
        (["--unseen", "11"], "there is no class '11' to leave out"),
        (["--seconds", "5"], "the day needs at least 60 seconds"),
        (["--broker", "carrier-pigeon"], "invalid choice: 'carrier-pigeon'"),
    ],
)
def test_bad_input_gets_one_sentence(more: list[str], sentence: str) -> None:
    done = play("--once", *more)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_pictures_that_cannot_be_used_get_one_sentence(tmp_path: Path) -> None:
    model = Path(__file__).parents[2] / "edge_actors" / "training" / "artifacts" / "digits_extractor.tflite"
    images = tmp_path / "images"
    (images / "cat").mkdir(parents=True)
    for said in ("no pictures in", "class 'cat' has"):
        done = play("--once", "--images", str(images), "--model", str(model))
        assert (done.returncode, "Traceback" in done.stderr) == (2, False)
        assert said in done.stderr
        (images / "cat" / "1.png").write_bytes(b"no picture")


def _children_of(pid: int) -> list[int]:
    """All processes that this one started, and theirs."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        if int(fields[1]) == pid:
            child = int(stat.parent.name)
            found += [child, *_children_of(child)]
    return found


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
