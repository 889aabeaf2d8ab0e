"""The desk for packages: takes uploads and works them off one after the other, on a thread of its own.

An upload lies in a folder until it is worked off, so an API that is started again goes on with what it left. The
database says who works on what: several APIs on one database do not get into each other's way.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from broker.address import BrokerAddress
from broker.errors import TinymlError
from broker.topics import ROOT
from ingest.errors import PackageInterrupted, StoreAway
from ingest.packages.importer import Importer, Outcome
from ingest.packages.ledger import FAILED, REFUSED, Ledger
from ingest.packages.limits import Limits
from ingest.packages.tell import tell
from ingest.stores import queries
from ingest.stores.events import PostgresEvents

from .errors import DeskFullError, UnknownPackageError
from .stores import Stores
from .upload import PART, SUFFIX, Upload

log = logging.getLogger(__name__)
ROOM = 64  # packages that may wait
STALE_S = 3600.0  # an upload that nobody writes to any more
NAP_S = 0.2
LOOK_S = 20.0  # how often somebody looks for what others left: a database may take a while to see that they are gone


class Desk:
    """`start` and `stop` it with the API."""

    def __init__(
        self,
        stores: Stores,
        folder: Path,
        broker: BrokerAddress,
        *,
        limits: Limits | None = None,
        root: str = ROOT,
        patience_s: float = 30.0,
    ) -> None:
        self.stores, self.folder, self.broker, self.root = stores, folder, broker, root
        self.limits = limits or Limits()
        self.patience_s = patience_s
        self._ledger = Ledger(stores.database.url)
        self._waiting: Queue[tuple[Path, str]] = Queue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="packages", daemon=True)

    def start(self) -> None:
        """Goes on with what is in the folder, and takes uploads from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Ends after the transaction in hand; what is left is gone on with when the API is started again."""
        self._stopping.set()
        self._thread.join(10)

    # ---- for requests ----------------------------------------------------------------------------------------

    def upload(self) -> Upload:
        """A file to write an upload to. Raises DeskFullError, NoRoomError."""
        if self._waiting.qsize() >= ROOM:
            raise DeskFullError(ROOM)
        return Upload(self.folder)

    def bring(self, upload: Upload, name: str, again: bool) -> tuple[Mapping[str, Any], bool]:
        """Takes an upload in hand, unless it is known; what is known of it, and whether work is to be done."""
        package, path = upload.keep()
        values = {"package": package, "name": name or "upload", "size": path.stat().st_size}
        with self.stores.database.transaction() as connection:
            known = connection.execute(queries.query("find_package", __package__), values).fetchone()
            brought = None
            if known is None or again or known["state"] not in ("waiting", "running", "done"):
                statement = queries.query("bring", package="ingest.packages")
                brought = connection.execute(statement, {**values, "worker": self._ledger.worker}).fetchone()
            if brought is not None:
                connection.execute(queries.query("forget_steps", package="ingest.packages"), values)
            row = connection.execute(queries.query("find_package", __package__), values).fetchone()
        if row is None:
            raise UnknownPackageError(package)
        if brought is None:
            path.unlink(missing_ok=True)
        else:
            self._waiting.put((path, package))
        return row, row["state"] != "done"

    # ---- the thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        with (
            closing(self._ledger),
            closing(PostgresEvents(self.stores.database.url, application="tinyml-packages")) as e,
        ):
            importer = Importer(
                ledger=self._ledger,
                events=e,
                objects=self.stores.objects,
                registry=self.stores.models,
                limits=self.limits,
                root=self.root,
                patience_s=self.patience_s,
                stopping=self._stopping.is_set,
            )
            look_at = 0.0
            while not self._stopping.is_set():
                if time.monotonic() >= look_at:
                    self._find_left()
                    look_at = time.monotonic() + LOOK_S
                with suppress(Empty):
                    self._turn(importer, *self._waiting.get(timeout=NAP_S))

    def _find_left(self) -> None:
        """What an API that is gone left in the folder, and nobody works on."""
        try:
            self._ledger.hold()
            for path in sorted(self.folder.glob(f"*{SUFFIX}")):
                if self._ledger.resume(package := path.name.partition("-")[0]) is not None:
                    self._waiting.put((path, package))
        except TinymlError as error:
            log.warning("packages wait: %s", error)
        for part in self.folder.glob(f"*{PART}"):
            with suppress(OSError):
                if time.time() - part.stat().st_mtime > STALE_S:
                    part.unlink()

    def _turn(self, importer: Importer, path: Path, package: str) -> None:
        try:
            outcome = importer.work(path, package)
        except PackageInterrupted:
            return  # the file stays for the next start
        except StoreAway as error:
            log.warning("package %s waits: %s", package[:12], error)
            self._waiting.put((path, package))
            self._stopping.wait(2.0)
            return
        except TinymlError as error:
            log.error("package %s: %s", package[:12], error)
            outcome = Outcome(package, FAILED, str(error), [])
        except Exception as error:
            # The one broad except of this process: what one package does to us must not stop the others, nor come
            # back at every start.
            log.critical("package %s cannot be worked off", package[:12], exc_info=error)
            outcome = Outcome(package, REFUSED, "the server failed on it; its log says why", [])
        if not outcome.steps:
            with suppress(TinymlError):
                self._ledger.end(package, outcome.state, outcome.reason)
        path.unlink(missing_ok=True)
        log.info("package %s: %s %s", package[:12], outcome.state, outcome.reason)
        if why := tell(outcome.stored, self.broker, self.root):
            log.info("devices were not told that their records are stored (%s); they send them again", why)
