"""What `tinyml train` reports of a training, as far as the registry keeps it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .bundles import BundleFile
from .errors import RegistryError

FORMAT = "tinymlops-training"
MOST_BYTES = 4 << 20
MEASURES = ("loss", "accuracy", "held_out_accuracy", "seconds")  # of a pass over the pictures


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """One training: what it was told, each pass, and how well it went."""

    text: bytes  # the report itself
    parameters: dict[str, str]
    passes: list[dict[str, float]]  # in order, MEASURES of each
    passes_at_ms: list[int]  # when each ended
    results: dict[str, float]  # of the end
    confusion: bytes  # as CSV, a row a class; empty where it is not told
    about: str


def read_report(path: Path, bundle: BundleFile) -> TrainingReport:
    """The report in a file. Raises RegistryError where it is none, or of another model than the bundle's."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise RegistryError(f"{path} is larger than the {MOST_BYTES} bytes a report may have")
        text = path.read_bytes()
        told = json.loads(text)
    except OSError as error:
        raise RegistryError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise RegistryError(f"{path} is no JSON") from None
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        raise RegistryError(f"{path} is no report of a training, as tinyml train writes one beside the model")
    model = told.get("model")
    if not isinstance(model, dict) or not bundle.model_sha256 or model.get("sha256") != bundle.model_sha256:
        raise RegistryError(f"{path} reports of another model than the one in the bundle")
    try:
        return _report(text, told)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise RegistryError(f"{path} is not a whole report of a training: {error!r}") from None


def _report(text: bytes, told: dict[str, Any]) -> TrainingReport:
    passes = [{name: _number(one[name]) for name in MEASURES} for one in told["passes"]]
    results = {f"test_accuracy_{kind}": _number(value) for kind, value in told["accuracy"].items()}
    counted = {name: str(told["pictures"][name]) for name in ("learned_from", "held_out")}
    given = {name: str(value) for name, value in told["options"].items()}
    classes = [str(name) for name in told["classes"]]
    kept = ", ".join(f"{_number(value):.1%} as {kind}" for kind, value in told["accuracy"].items())
    return TrainingReport(
        text=text,
        parameters={f"train_{name}": value for name, value in (given | counted).items()},
        passes=passes,
        passes_at_ms=[round(_number(one["ended_s"]) * 1000) for one in told["passes"]],
        results=results,
        confusion=_table(classes, told["confusion"]),
        about=f"of {counted['held_out']} held-out pictures {kept} are recognised",
    )


def _number(value: Any) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no number")
    return float(value)


def _table(classes: list[str], counts: list[list[int]]) -> bytes:
    """Rows are what the pictures show, columns what they were taken for."""
    if len(counts) != len(classes) or any(len(row) != len(classes) for row in counts):
        raise ValueError("the confusion is not a square of the classes")
    quoted = ['"' + name.replace('"', '""') + '"' for name in classes]
    lines = [",".join(["shown", *quoted])]
    lines += [",".join([name, *(str(int(n)) for n in row)]) for name, row in zip(quoted, counts, strict=True)]
    return ("\n".join(lines) + "\n").encode(errors="surrogatepass")
