"""Pages together are the whole list, whatever their size and whatever arrives between them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from platform_api import paging
from platform_api.errors import InvalidRequestError
from platform_api.stores import Stores
from tests.platform_api.conftest import hasty_link
from tests.platform_api.fleet import NOON_US, Fleet
from tests.platform_api.servers import Api

KINDS: dict[str, type[paging.Key]] = {"at": datetime, "device": str, "seq": int}


@pytest.fixture
def crowded(stores: Stores, fleet: Fleet) -> Iterator[Api]:
    """Two devices with seven episodes and samples each; many at the very same time."""
    for device in ("pi-1", "pi-2"):
        for number in range(7):
            at = NOON_US + number // 3
            fleet.drifts(device, f"e{number}", ended=number % 2 == 0, wall_us=at)
            fleet.quarantines(device, f"s{number}", wall_us=at)
    with Api(stores, hasty_link(1)) as api:
        for device in ("pi-1", "pi-2"):
            for number in range(7):
                api.label(device, f"s{number}")
        yield api


def pages(api: Api, path: str, limits: list[int], **query: Any) -> list[dict[str, Any]]:
    """All items, with pages of these sizes in turn."""
    items: list[dict[str, Any]] = []
    after: dict[str, str] = {}
    for turn in range(100):
        page = api.get(path, limit=limits[turn % len(limits)], **query, **after)
        assert len(page["items"]) <= limits[turn % len(limits)]
        items += page["items"]
        if page["next"] is None:
            return items
        after = {"after": page["next"]}
    raise AssertionError("the pages never end")


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(["/drift", "/samples", "/labels", "/devices"]),
    limits=st.lists(st.integers(1, 15), min_size=1, max_size=4),
    device=st.sampled_from([None, "pi-2"]),
)
def test_pages_together_are_the_whole_list(crowded: Api, path: str, limits: list[int], device: str | None) -> None:
    query = {"device": device} if device and path != "/devices" else {}
    whole = crowded.get(path, limit=500, **query)
    assert whole["next"] is None
    assert pages(crowded, path, limits, **query) == whole["items"]


def test_what_arrives_between_two_pages_neither_repeats_nor_hides_a_row(crowded: Api, fleet: Fleet) -> None:
    before = [(item["device"], item["sample"]) for item in crowded.get("/samples", limit=500)["items"]]
    page = crowded.get("/samples", limit=5)
    seen = page["items"]
    while page["next"]:
        fleet.quarantines("pi-1", f"new-{len(seen)}", wall_us=NOON_US + 10_000_000)
        page = crowded.get("/samples", limit=5, after=page["next"])
        seen += page["items"]
    assert [(item["device"], item["sample"]) for item in seen] == before


@given(
    at=st.datetimes(timezones=st.just(UTC)),
    device=st.text(st.characters(categories=["L", "N", "P"])),
    seq=st.integers(-(2**63) + 1, 2**63 - 1),
)
def test_a_cursor_reads_as_it_was_written(at: datetime, device: str, seq: int) -> None:
    assert paging.read(paging.cursor([at, device, seq]), KINDS) == {"at": at, "device": device, "seq": seq}


@given(st.text(max_size=60))
def test_any_other_text_is_no_cursor(text: str) -> None:
    with pytest.raises(InvalidRequestError):
        paging.read(text, KINDS)
