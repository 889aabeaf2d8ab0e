"""A wanted bundle is kept, refused, or given back, on a whole device over a real broker."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.embedded import BrokerProcess
from broker.messages import Birth, LabelAcknowledged, LabelAssigned, ModelDesired, ModelReported, SampleQuarantined
from edge_actors.bundle import Bundle, archive
from edge_actors.bundle.build import BuildOptions, build_bundle
from edge_actors.extractor import Extractor
from edge_actors.remote import models
from edge_actors.remote.ledger import Trial
from edge_actors.remote.models import ledger_of
from edge_actors.training.digit_pictures import digit_pictures
from tests.edge.remote.site import Site
from tests.edge.server import Server
from tests.edge.test_cli import MODEL, Kit, flags, settings
from tests.support import wait_until


@pytest.fixture(scope="module")
def twin(kit: Kit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another bundle with the same feature space."""
    bundle = Bundle.load(kit.bundle)
    path = tmp_path_factory.mktemp("twin") / "twin.bundle"
    replace(bundle, manifest={**bundle.manifest, "lineage": {"about": "a twin"}}).write(path)
    return path


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of other pictures, with another projection."""
    digits = digit_pictures()
    labelled = [(p, label, "") for p, label, part in zip(*digits, strict=True) if part == "ref"]
    path = tmp_path_factory.mktemp("other") / "other.bundle"
    build_bundle(labelled[1::3], MODEL.read_bytes(), BuildOptions()).write(path)
    return path


@pytest.fixture
def site(
    broker: BrokerProcess,
    kit: Kit,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Site]:
    monkeypatch.setattr(models, "ENOUGH_FRAMES", 10)
    with ExitStack() as ends:
        server = Server(broker, f"models-{request.node.name.replace('_', '-')[:50]}")
        ends.callback(server.connection.stop)
        setup = settings(
            kit,
            tmp_path / "state",
            mode="managed",
            once=False,
            fps=50.0,
            broker=broker.url,
            root=server.root,
            drain_s=5.0,
        )
        site = Site(server, setup)
        ends.callback(site.stop)
        wait_until(lambda: site.heard(Birth), 20)
        yield site


def want(site: Site, path: Path, revision: int = 1, **changes: Any) -> str:
    """Wants the bundle of a file; its digest."""
    data = path.read_bytes()
    digest = archive.digest_in(path)
    usual: dict[str, Any] = {
        "revision": revision,
        "digest": digest,
        "url": path.as_uri(),
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "shadow_frames": 5,
        "trial_s": 0.3,
        "most_slower": 100.0,  # two cores that eight others use
    }
    site.say("model/desired", ModelDesired(**(usual | changes)))
    return digest


def teach(site: Site, name: str) -> None:
    """A person labels a frame, and the device has taken it in."""
    site.command("c1", "send-sample")
    sample = site.latest(SampleQuarantined)
    label = LabelAssigned(
        sample=sample.sample, revision=1, verdict="is", label=name, bundle=sample.bundle, values=sample.values
    )
    site.say(f"label/{sample.sample}", label)
    assert site.latest(LabelAcknowledged).outcome == "applied"


def decided(site: Site, revision: int = 1) -> ModelReported:
    """The report of what became of a wish."""

    def found() -> list[ModelReported]:
        final = ("committed", "refused", "rolled-back")
        return [one for one in site.heard(ModelReported) if one.revision == revision and one.phase in final]

    wait_until(found, 40)
    return found()[0]


def running(site: Site) -> str:
    return site.heard(Birth)[-1].bundle


def test_a_good_bundle_is_kept_and_survives_a_restart(site: Site, twin: Path, kit: Kit) -> None:
    digest = want(site, twin)
    report = decided(site)
    assert (report.phase, report.running, report.reason) == ("committed", digest, "")
    assert report.metrics["agreement"] == 1.0
    assert {"old_p50_us", "new_p50_us", "accuracy", "trial_frames", "trial_frame_p50_us"} <= report.metrics.keys()
    phases = list(dict.fromkeys(one.phase for one in site.heard(ModelReported)))
    steps = ["idle", "downloading", "checking", "shadow", "trial", "committed"]
    assert phases == [step for step in steps if step in phases], "what is retained may pass over a short step"
    assert {"shadow", "trial", "committed"} <= set(phases)
    assert running(site) == digest
    assert site.command("c1", "restart")[-1].state == "done"
    wait_until(lambda: len(site.processes) == 3)
    assert running(site) == digest
    assert site.heard(ModelReported)[-1].phase == "committed"

    site.say("model/desired", ModelDesired(revision=2))
    wait_until(lambda: running(site) == kit.digest, 20)


def test_what_people_labelled_comes_along_where_the_feature_space_is_the_same(
    site: Site, twin: Path, other: Path
) -> None:
    teach(site, "odd")
    want(site, twin)
    report = decided(site)
    assert (report.metrics["labels_carried"], report.metrics["labels_left"]) == (1.0, 0.0)
    knn: Any = site.processes[-1].device.actor("knn")
    assert knn.memory.labels[-1] == "odd"
    want(site, other, revision=2, least_agreement=0.0)
    report = decided(site, 2)
    assert (report.metrics["labels_carried"], report.metrics["labels_left"]) == (0.0, 1.0)


def test_what_people_label_during_a_trial_waits_for_the_bundle_that_stays(site: Site, twin: Path) -> None:
    site.command("c1", "send-sample")
    sample = site.latest(SampleQuarantined)
    digest = want(site, twin, trial_s=2.0)
    wait_until(lambda: running(site) == digest, 20)
    label = LabelAssigned(
        sample=sample.sample, revision=1, verdict="is", label="odd", bundle=digest, values=sample.values
    )
    site.say(f"label/{sample.sample}", label)
    assert decided(site).phase == "committed"
    assert not site.heard(LabelAcknowledged)
    assert site.latest(LabelAcknowledged).outcome == "applied"


def test_a_bundle_on_trial_that_fails_gives_way_to_the_one_before_with_its_state(
    site: Site, other: Path, kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    teach(site, "odd")

    digest, real = archive.digest_in(other), Extractor.receive

    def break_down(self: Extractor, message: Any) -> Any:
        if site.processes[-1].bundle.digest == digest:
            raise ValueError("the new model has a bad day")
        return real(self, message)

    monkeypatch.setattr(Extractor, "receive", break_down)
    want(site, other, least_agreement=0.0, trial_s=60.0)
    report = decided(site)
    assert (report.phase, report.running, report.desired) == ("rolled-back", kit.digest, "")
    assert "actors failed" in report.reason or "did not stay up" in report.reason
    assert running(site) == kit.digest
    knn: Any = site.processes[-1].device.actor("knn")
    assert knn.memory.labels[-1] == "odd", "the state of the bundle before it was lost"
    want(site, other, revision=2)
    assert decided(site, 2).reason.startswith("it was refused before: ")
    assert ledger_of(site.processes[-1].state.path).page.refused.keys() == {digest}


def test_bundles_that_cannot_run_here_are_refused_with_the_reason_and_remembered(
    site: Site, twin: Path, kit: Kit, tmp_path: Path
) -> None:
    parts = archive.read(twin.read_bytes(), "twin")
    wrong = tmp_path / "wrong.bundle"
    archive.write(wrong, {**parts.manifest, "dimension": 7}, parts.parts)
    want(site, wrong)
    report = decided(site)
    assert (report.phase, report.running) == ("refused", kit.digest)
    assert "is refused: " in report.reason
    want(site, wrong, revision=2)
    assert decided(site, 2).reason == f"it was refused before: {report.reason}"

    want(site, twin, revision=3, sha256="0" * 64)
    assert "what came has the sha256" in decided(site, 3).reason
    want(site, twin, revision=4, url="http://127.0.0.1:9/", size=1 << 40)
    assert "are not the size of a bundle" in decided(site, 4).reason
    want(site, twin, revision=5, digest="f" * 64)
    assert decided(site, 5).reason.endswith(f", not {'f' * 12}")
    assert len(site.processes) == 1, "none of these has cost a restart"
    assert not list((site.processes[0].state.path / "models").glob("*.bundle"))


def test_a_slow_bundle_and_one_that_disagrees_are_refused_beside_the_present_one(
    site: Site, twin: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_actors.remote.shadow.FLOOR_US", 0.0)
    want(site, twin, most_slower=0.0001)
    report = decided(site)
    assert report.reason.startswith("a frame takes ")
    assert report.metrics["new_p50_us"] > 0
    want(site, other, revision=2, least_agreement=1.1)
    assert "of the frames; at least 110% are wanted" in decided(site, 2).reason


def test_a_bundle_that_sees_a_drift_at_once_goes(site: Site, twin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = archive.digest_in(twin)
    monkeypatch.setattr(
        type(site.processes[0]), "episode", property(lambda self: "f1" if self.bundle.digest == digest else "")
    )
    want(site, twin, trial_s=60.0)
    report = decided(site)
    assert (report.phase, report.reason) == ("rolled-back", "it saw a drift at once, at frame f1")


@pytest.mark.slow
def test_kill_9_in_any_phase_leaves_a_device_that_runs(kit: Kit, twin: Path, tmp_path: Path) -> None:
    """The ledger is put into each phase, the device is killed in it again and again, and always runs something."""
    state, digest = tmp_path / "state", archive.digest_in(twin)
    (state / "models").mkdir(parents=True)
    data = twin.read_bytes()
    (state / "models" / f"{digest}.bundle").write_bytes(data)
    wish = ModelDesired(
        revision=1,
        digest=digest,
        url=twin.as_uri(),
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        shadow_frames=1_000_000,
    )
    ledger_of(state).wanted(wish)
    shadow = [killed(kit, state, digest) for _ in range(4)]
    assert shadow == [kit.digest] * 4
    assert "stopped again and again" in ledger_of(state).page.reason
    (state / "models" / f"{digest}.bundle").write_bytes(data)  # the refusal removes it, if the kill came late enough
    held = ledger_of(state)
    held.wanted(replace(wish, revision=2))
    held.tries_to_run(Trial(digest=digest, slower=100.0), {})
    assert [killed(kit, state, digest) for _ in range(4)] == [digest] * 3 + [kit.digest]
    assert "did not stay up with it" in ledger_of(state).page.reason


def killed(kit: Kit, state: Path, wanted: str) -> str:
    """Starts a device, kills it once its ledger says more than before; which of the two bundles it ran."""
    command = flags(kit, state, "--mode", "managed", "--broker", "mqtt://127.0.0.1:9")
    before = ledger_of(state).page
    device = subprocess.Popen([sys.executable, "-m", "broker.cli", *command], stdout=subprocess.PIPE, text=True)
    try:
        line = device.stdout.readline() if device.stdout else ""
        wait_until(lambda: ledger_of(state).page != before, 20)
    finally:
        os.kill(device.pid, signal.SIGKILL)
        device.communicate(timeout=20)
    found = line.partition("bundle ")[2][:12]
    return next(one for one in (kit.digest, wanted) if one.startswith(found))
