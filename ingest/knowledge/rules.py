"""What people are told: few things, each with what happened, what to do, and where to look."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

# Named states of a device (docs/knowledge.md) that a person has to mend. What is not here goes by itself, is the
# night, or is told in other words.
FAULTS = {
    "camera_frozen": "The camera gives the same picture again and again. Look at it and its cable; restart it.",
    "camera_stalled": "The camera gives no pictures. Look at the camera and its cable.",
    "disk_failing": "The disk does not take what is written. Replace the SD card; the device works on from memory.",
    "disk_full": "The disk is full. Make room on it, or lower --spool-mb and what the recorder keeps.",
    "snapshot_failing": "The device cannot save what it learnt. Look at its disk.",
    "spool_full": "The device had to give up records. Bring it a better link, or export its spool by hand.",
    "undervoltage": "The power supply is too weak. Replace it or its cable.",
    "write_budget": "The device writes more than the disk's budget. See docs/device-storage.md.",
}
Facts = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Rule:
    """`when` names the statement that finds the condition.

    `hold` says that it has to last for a while before it is told; others have a time of their own in the statement.
    """

    when: str
    title: Callable[[Facts, str], str]
    text: Callable[[Facts, str], str]
    action: Callable[[Facts], str]
    link: str
    hold: bool = False


def _incident_title(facts: Facts, _: str) -> str:
    what = {"drift": f"{facts['type']} drift", "camera": f"cameras {facts['type']}", "away": "devices went away"}
    return f"Incident: {what[facts['kind']]} on {facts['devices']} of {facts['online']} devices"


def _incident_text(facts: Facts, _: str) -> str:
    if facts["kind"] == "away":
        return f"{facts['devices']} of {facts['online']} online devices went away within a quarter of an hour."
    what = f"drift of type {facts['type']}" if facts["kind"] == "drift" else f"the camera fault {facts['type']}"
    bundle = f" with bundle {facts['bundle']}" if facts["kind"] == "drift" and facts["bundle"] else ""
    said = f"Within an hour {what} began on {facts['devices']} of {facts['online']} devices{bundle}."
    if facts["restarted"]:
        said += f" {facts['restarted']} of them had just started."
    return said


def _incident_action(facts: Facts) -> str:
    if facts["kind"] == "away":
        return "Look at what they share: the broker, the ingest workers, the network, the power."
    if 2 * facts["restarted"] > facts["devices"]:
        return "Most had just started: look for a power cut or an update before looking at pictures."
    if facts["kind"] == "camera":
        return "Look at what the cameras share: light, power, mounting, driver."
    return "Label samples of a few of these devices; what is new to all of them wants a new bundle."


RULES: Mapping[str, Rule] = {
    "incident": Rule("when_incident", _incident_title, _incident_text, _incident_action, "/incidents/{incident}"),
    "incident-closed": Rule(
        "when_incident_closed",
        lambda f, _: f"Over: incident on {f['devices']} devices",
        lambda f, _: (
            "Late records show that it was none."
            if f["status"] == "dissolved"
            else f"All {f['devices']} devices of this incident ({f['kind']}) are as they should be again."
        ),
        lambda f: "Nothing needs to be done.",
        "/incidents/{incident}",
    ),
    "drift-waits": Rule(
        "when_drift_waits",
        lambda f, device: f"{device} drifts and waits for labels",
        lambda f, device: (
            f"{device} has been in drift ({f['type'] or 'type unknown'}) for long and cannot help itself; "
            f"{f['waiting']} of its samples wait for a person."
        ),
        lambda f: "Say what its samples are.",
        "/samples?device={device}&episode={episode}&pending=true",
    ),
    "device-offline": Rule(
        "when_offline",
        lambda f, device: f"{device} is offline",
        lambda f, device: (
            (f"{device} broke off its connection" if f["how"] == "will" else f"{device} fell silent")
            + f" and was not heard since {f['heard_at']}."
        ),
        lambda f: "Look at its power and its link. What it has recorded is kept on it and arrives later.",
        "/devices/{device}",
    ),
    "device-fault": Rule(
        "when_faults",
        lambda f, device: f"{device}: {f['fault']}",
        lambda f, device: f"{device} says {f['fault']}.",
        lambda f: FAULTS[f["fault"]],
        "/devices/{device}",
        hold=True,
    ),
    "dead-letters": Rule(
        "when_dead_letters",
        lambda f, _: "Messages that could not be handled",
        lambda f, _: f"{f['letters']} messages of {f['devices']} devices could not be handled in the last day.",
        lambda f: "Read why in the view v_dead_letter; most often a device runs a version this server does not know.",
        "/devices",
    ),
    "label-rejected": Rule(
        "when_label_rejected",
        lambda f, device: f"{device} rejected labels",
        lambda f, device: f"{device} rejected {f['labels']} labels: {f['reason'] or 'no reason given'}.",
        lambda f: "Label these samples again or take the labels back.",
        "/labels?device={device}&state=rejected",
    ),
    "job-fails": Rule(
        "when_job_fails",
        lambda f, _: f"The job {f['job']} fails",
        lambda f, _: f"The job {f['job']} of `tinyml ingest maintain` failed: {f['reason']}",
        lambda f: "Mend what the reason names; the job goes on by itself then.",
        "/health",
        hold=True,
    ),
    "objects-wait": Rule(
        "when_objects_wait",
        lambda f, _: "Pictures cannot be put into the object store",
        lambda f, _: f"{f['objects']} objects wait in the database: {f['reason'] or 'no reason given'}",
        lambda f: "Look at the object store. Nothing is lost, but the database grows.",
        "/health",
    ),
}
