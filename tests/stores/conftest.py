"""Stores on real servers."""

from tests.postgres import embedded_server, timescale_container, timescale_server

__all__ = ["embedded_server", "timescale_container", "timescale_server"]
