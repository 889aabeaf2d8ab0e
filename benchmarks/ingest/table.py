"""The figures as a table: what was asked, what it is, and how that compares."""

from __future__ import annotations

from collections.abc import Mapping

from .numbers import Figures

Results = Mapping[str, Figures]


def render(results: Results, about: str, runs: int, busy: float) -> str:
    """Markdown. What was not measured has no row."""
    rows = [row for name, row in _rows(results) if name in results]
    lines = [
        "# What ingest carries",
        "",
        f"`python -m benchmarks.ingest`: {about}. One worker, broker, database and publisher share the processors; "
        f"medians of {runs}. When it began, others used {busy:.0%} of the processors.",
        "",
        "| what | asked | measured | beside that |",
        "|---|---|---|---|",
        *(f"| {what} | {asked} | {measured} | {beside} |" for what, asked, measured, beside in rows),
    ]
    return "\n".join(lines) + "\n"


def _rows(r: Results) -> list[tuple[str, tuple[str, str, str, str]]]:
    def of(name: str, figure: str, pattern: str = "{:,.0f}") -> str:
        return pattern.format(r[name][figure]) if name in r else "-"

    def times(name: str, other: str) -> str:
        return f"{r[name]['per_s'] / r[other]['per_s']:.2f} x" if name in r and other in r else "-"

    def cpu(name: str) -> str:
        if name not in r:
            return "-"
        parts = ("worker", "broker", "database", "publisher")
        return (
            "processor time a message: " + ", ".join(f"{part} {r[name][f'{part}_us']:.1f}" for part in parts) + " us"
        )

    def ms(figure: str) -> str:
        return of("latency", f"{figure}_ms", "{:.1f}")

    def readings(name: str, each: int) -> tuple[str, str, str, str]:
        what = f"telemetry readings, rows a second, {each:,} a message"
        return what, ">= 500,000", of(name, "rows_per_s"), f"{of(name, 'messages_per_s')} messages; {cpu(name)}"

    return [
        ("drained", ("drift events drained, a second", ">= 40,000", of("drained", "per_s"), cpu("drained"))),
        ("live", ("the same, live", ">= 30,000", of("live", "per_s"), cpu("live"))),
        ("two", ("drained by 2 workers", "", of("two", "per_s"), f"{times('two', 'drained')} of one")),
        ("naive", ("naive worker: aiomqtt, one INSERT a message", "", of("naive", "per_s"), _ours("naive", r))),
        ("bare-mqtt5", ("bare subscriber, mqtt5 codec", "", of("bare-mqtt5", "per_s"), _ours("bare-mqtt5", r))),
        (
            "bare-paho",
            ("bare subscriber, paho, acknowledging by hand", "", of("bare-paho", "per_s"), _ours("bare-paho", r)),
        ),
        ("copy", ("bare COPY, 2,000 rows a transaction", "", of("copy", "per_s"), _ours("copy", r))),
        (
            "latency",
            (
                f"publish to row at {of('latency', 'per_s')}/s, ms",
                "p95 <= 10, p99 <= 25",
                f"p95 {ms('row_p95')}, p99 {ms('row_p99')}",
                f"p50 {ms('row_p50')}; to `stored` at the device p50 {ms('stored_p50')}, p95 {ms('stored_p95')},"
                f" p99 {ms('stored_p99')}",
            ),
        ),
        ("telemetry", readings("telemetry", 100)),
        ("long", readings("long", 1000)),
        (
            "poison",
            (
                "drained, poison in between",
                ">= 0.9 x",
                of("poison", "per_s"),
                f"{times('poison', 'drained')} of clean",
            ),
        ),
        (
            "start",
            (
                "start to first row confirmed, s",
                "<= 1",
                of("start", "first_row_s", "{:.2f}"),
                f"listening after {of('start', 'listening_s', '{:.2f}')} s, {of('start', 'rss_mb')} MB",
            ),
        ),
        (
            "memory",
            (
                f"memory of a worker over {of('memory', 'messages')} messages, MB",
                "<= 150, flat",
                f"{of('memory', 'end_mb')}, at most {of('memory', 'peak_mb')}",
                f"at the tenth {of('memory', 'tenth_mb')}",
            ),
        ),
        (
            "fleet",
            (
                f"`tinyml simulate`, {of('fleet', 'most_connected')} devices, {of('fleet', 'made')} records",
                "0 lost, 0 twice",
                f"{of('fleet', 'lost')} lost, {of('fleet', 'duplicated')} twice",
                f"device to `stored` p50 {of('fleet', 'p50_ms')}, p95 {of('fleet', 'p95_ms')}, "
                f"p99 {of('fleet', 'p99_ms')} ms",
            ),
        ),
        (
            "kills",
            (
                f"{of('kills', 'made')} records under {of('kills', 'kills')} kills in stalls of the database",
                "0 lost, 0 twice",
                f"{of('kills', 'lost')} lost, {of('kills', 'duplicated')} twice",
                f"{of('kills', 'sent_again')} sent again, {of('kills', 'reconnects')} reconnects",
            ),
        ),
    ]


def _ours(other: str, r: Results) -> str:
    if other not in r or "drained" not in r:
        return "-"
    return f"ours drains {r['drained']['per_s'] / r[other]['per_s']:.2f} x as fast"
