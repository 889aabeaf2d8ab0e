"""Examples of what the API takes and gives; the OpenAPI document shows them, a test checks that they are true."""

from __future__ import annotations

from typing import Any

_DEVICE, _SAMPLE, _EPISODE, _BUNDLE = "pi-07", "3f9a1c20-000004-812", "3f9a1c20-000004-d1", "9b74c98e"
NEXT = "WyIyMDI2LTExLTIzVDEyOjAwOjAwWiJd"
_NOON, _LATER = "2026-11-23T12:00:00Z", "2026-11-23T12:00:07Z"

DEVICE: dict[str, Any] = {
    "device": _DEVICE,
    "state": "online",
    "reason": "",
    "faults": [],
    "silent": False,
    "presence": "online",
    "first_heard_at": "2026-11-02T08:00:00Z",
    "heard_at": _NOON,
    "mode": "validated",
    "privacy": "thumbnail",
    "bundle": _BUNDLE,
    "config": 3,
    "versions": {"tinymlops": "0.1.0", "ai-edge-litert": "2.3.0"},
    "actors": ["extractor", "knn", "drift_monitor"],
    "detectors": ["residual-cusum"],
    "location": "hall 2, line 4",
    "location_source": "config",
    "report_s": 60.0,
    "in_drift": True,
    "episode": _EPISODE,
    "drift_since": _NOON,
    "samples_pending": 12,
    "labels_outstanding": 1,
}

EPISODE: dict[str, Any] = {
    "device": _DEVICE,
    "episode": _EPISODE,
    "open": False,
    "begin_at": _NOON,
    "end_at": "2026-11-23T12:20:00Z",
    "last_at": "2026-11-23T12:20:00Z",
    "detector": "residual-cusum",
    "drift_type": "residual",
    "peak_statistic": 31.2,
    "threshold": 26.4,
    "peak_severity": 1.18,
    "frames": 6004,
    "reason": "stream is in distribution again",
    "events": 9,
    "samples": 14,
    "status": "resolved",
    "status_reason": "quiet",
    "status_by": "system",
    "status_at": "2026-11-23T12:24:00Z",
}

_INCIDENT = "drift-20261123T1200-5b1e77f0"

INCIDENT: dict[str, Any] = {
    "incident": _INCIDENT,
    "kind": "drift",
    "type": "residual",
    "bundle": _BUNDLE,
    "severity": "warning",
    "status": "closed",
    "begin_at": _NOON,
    "last_at": "2026-11-23T12:31:00Z",
    "devices": 7,
    "online": 25,
    "restarted": 0,
    "unresolved": 0,
    "opened_at": "2026-11-23T12:12:30Z",
    "closed_at": "2026-11-23T14:40:30Z",
    "merged_into": "",
}

MEMBER: dict[str, Any] = {
    "device": _DEVICE,
    "kind": "drift",
    "episode": _EPISODE,
    "type": "residual",
    "detector": "residual-cusum",
    "begin_at": _NOON,
    "end_at": "2026-11-23T12:20:00Z",
    "severity": 1.18,
    "status": "resolved",
    "reason": "quiet",
}

NOTIFICATION: dict[str, Any] = {
    "id": 42,
    "uid": "1f0c5c1e-9f7d-4a6e-8f53-0e6c1a6c7e11",
    "kind": "incident",
    "severity": "warning",
    "device": "",
    "episode": "",
    "incident": _INCIDENT,
    "title": "Incident: residual drift on 7 of 25 devices",
    "text": "Within an hour drift of type residual began on 7 of 25 devices with bundle 9b74c98e.",
    "action": "Label samples of a few of these devices; what is new to all of them wants a new bundle.",
    "link": f"/incidents/{_INCIDENT}",
    "since": _NOON,
    "notified_at": "2026-11-23T12:12:31Z",
    "over_at": "2026-11-23T14:40:31Z",
    "active": False,
    "times": 1,
    "acked_at": "2026-11-23T12:20:00Z",
    "acked_by": "ada",
    "deliveries": {"webhook": "sent", "mail": "waiting"},
}

LABEL: dict[str, Any] = {
    "device": _DEVICE,
    "sample": _SAMPLE,
    "revision": 1,
    "verdict": "is",
    "label": "pear",
    "by": "ada",
    "bundle": _BUNDLE,
    "state": "applied",
    "reason": "",
    "current": True,
    "made_at": _NOON,
    "published_at": _NOON,
    "answered_at": _LATER,
    "cleared_at": _LATER,
}

_LATER_ON = ("published_at", "answered_at", "cleared_at")

QUEUED: dict[str, Any] = {k: v for k, v in {**LABEL, "state": "queued"}.items() if k not in _LATER_ON}

NEW_LABELS: dict[str, Any] = {
    name: {"summary": summary, "value": {"device": _DEVICE, "sample": _SAMPLE, **said, "by": "ada"}}
    for name, summary, said in (
        ("is", "it is a pear", {"verdict": "is", "label": "pear"}),
        ("is-not", "it is no apple", {"verdict": "is-not", "label": "apple"}),
        ("unknown", "nobody can tell", {"verdict": "unknown"}),
        ("retract", "what was said before was wrong", {"verdict": "retract"}),
    )
}

SAMPLE: dict[str, Any] = {
    "device": _DEVICE,
    "sample": _SAMPLE,
    "at": _NOON,
    "received_at": _LATER,
    "episode": _EPISODE,
    "bundle": _BUNDLE,
    "predicted": "apple",
    "confidence": 0.6,
    "score": 2.1,
    "neighbours": ["apple", "apple", "pear", "apple", "plum"],
    "distances": [3.1, 3.2, 3.4, 3.9, 4.0],
    "picture": f"/samples/{_DEVICE}/{_SAMPLE}/picture",
    "width": 96,
    "height": 96,
    "asked_at": _NOON,
    "asked_reason": "dense",
    "label": {
        "revision": 1,
        "verdict": "is",
        "label": "pear",
        "by": "ada",
        "state": "applied",
        "reason": "",
        "made_at": _NOON,
        "answered_at": _LATER,
    },
}

BLOB: dict[str, Any] = {
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "what": "snapshot",
    "name": "3f9a1c20-000004-s9",
    "size": 204_912,
    "state": "stored",
    "reason": "",
    "chunks": 4,
    "got": 4,
    "offered_at": _NOON,
    "stored_at": _LATER,
}

LINK: dict[str, Any] = {
    "url": "https://objects.example.org/tinyml/pictures/9f/9f86d0...?X-Amz-Expires=300&X-Amz-Signature=5d2...",
    "expires_at": "2026-11-23T12:05:00Z",
}

ADAPTATION: dict[str, Any] = {
    "device": _DEVICE,
    "adaptation": "3f9a1c20-000004-a1",
    "at": _LATER,
    "received_at": _LATER,
    "episode": _EPISODE,
    "kind": "novel-class",
    "outcome": "applied",
    "reason": "",
    "label": "novel-1",
    "samples": 25,
    "statistic": 0.61,
    "threshold": 0.8,
    "accuracy_before": 0.958,
    "accuracy_after": 0.957,
    "memory": 225,
}

_PACKAGE = "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"

PACKAGE_DONE: dict[str, Any] = {
    "package": _PACKAGE,
    "name": "pi-07-20261123T080000Z.cborseq.gz",
    "kind": "gzip export",
    "size": 183_204,
    "state": "done",
    "reason": "",
    "times": 1,
    "received_at": _NOON,
    "ended_at": _LATER,
    "steps": 3,
    "failed": 0,
    "progress": 1.0,
    "records": 2412,
    "new": 2400,
    "known": 12,
    "dead_letters": 0,
}

PACKAGE_WAITING: dict[str, Any] = {
    **PACKAGE_DONE,
    "kind": "",
    "state": "waiting",
    "ended_at": None,
    "steps": 0,
    "progress": 0.0,
    "records": 0,
    "new": 0,
    "known": 0,
}

STEP: dict[str, Any] = {
    "step": 2,
    "name": "pi-07-20261123T080000Z.cborseq.gz",
    "kind": "export",
    "state": "done",
    "reason": "",
    "device": _DEVICE,
    "progress": 1.0,
    "size": 524_118,
    "records": 2412,
    "new": 2400,
    "known": 12,
    "dead_letters": 0,
    "began_at": _NOON,
    "ended_at": _LATER,
}

MODEL: dict[str, Any] = {
    "model": "digits",
    "version": 4,
    "digest": "9b74c9897bac770ffc029102a200c5de0dd4b8d6b3a3e4a35dd4b0c2ac5bbd36",
    "aliases": ["champion"],
    "tags": {"runtime": "ai-edge-litert 2.3.0", "dimension": "64"},
}

HISTORY: dict[str, Any] = {
    "items": [{**LABEL, "revision": 2}, {**LABEL, "label": "apple", "state": "superseded", "current": False}]
}

HEALTH: dict[str, Any] = {
    "database": {"ok": True, "why": ""},
    "broker": {"ok": True, "why": ""},
    "objects": {"ok": True, "why": ""},
    "registry": {"ok": False, "why": "the model registry did not answer within 3 seconds"},
}
_AWAY = {"ok": False, "why": "The database does not answer: connection refused"}
NOT_WELL: dict[str, Any] = {**HEALTH, "database": _AWAY, "broker": _AWAY}
