"""Runs the jobs that are due. Any number of these may run side by side: the database says whose turn it is."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import psycopg

from broker.errors import TinymlError

from .errors import IngestError
from .heartbeat import Heartbeat
from .jobs.job import Job, Site, trouble
from .settings import IngestSettings
from .stores.queries import query

log = logging.getLogger("tinyml.maintain")
NAP_S = 0.5


class Upkeep:
    """Does each job when it is due, one after the other."""

    def __init__(self, settings: IngestSettings, jobs: Sequence[Job]) -> None:
        self.site, self.jobs = Site(settings), jobs
        self._stopping = False

    def stop(self) -> None:
        """Asks to end after the job in hand; a signal handler may call this."""
        self._stopping = True

    def once(self, names: Sequence[str] = ()) -> int:
        """The jobs of these names, or all that are due; returns the exit status, 1 where one failed."""
        if unknown := set(names) - {job.name for job in self.jobs}:
            known = ", ".join(job.name for job in self.jobs)
            raise IngestError(f"there is no job {', '.join(sorted(unknown))}; there are {known}")
        try:
            chosen = [job for job in self.jobs if job.name in names or not names]
            return max([self._attempt(job, due_or_not=bool(names)) for job in chosen], default=0)
        finally:
            self.site.close()

    def watch(self) -> int:
        """Goes on until it is stopped; returns the exit status."""
        log.info("watching over %d jobs", len(self.jobs))
        heartbeat = Heartbeat(self.site.settings.heartbeat)
        try:
            while not self._stopping:
                for job in self.jobs:
                    if not self._stopping:
                        heartbeat.beat()
                        self._attempt(job)
                self._nap()
        finally:
            self.site.close()
            heartbeat.stop()
        return 0

    def _nap(self) -> None:
        until = time.monotonic() + NAP_S
        while not self._stopping and time.monotonic() < until:
            time.sleep(0.1)

    def _attempt(self, job: Job, *, due_or_not: bool = False) -> int:
        try:
            self._turn(job, due_or_not)
        except (psycopg.Error, TinymlError) as error:
            sentence = trouble(error) if isinstance(error, psycopg.Error | IngestError) else error
            log.warning("%s: %s", job.name, sentence)
            return 1
        return 0

    def _turn(self, job: Job, due_or_not: bool) -> None:
        """Runs a job unless somebody else does, or it is not due."""
        database = self.site.database
        if not _one(database, "lock_job", job.name):
            return
        try:
            if not (_one(database, "begin_job", job.name, due_or_not, job.every_s)):
                return
            began = time.monotonic()
            try:
                said = job.run(self.site)
            except (psycopg.Error, IngestError) as error:
                self._note(job, False, str(trouble(error)), time.monotonic() - began)
                raise
            self._note(job, True, said, time.monotonic() - began)
            if said:
                log.info("%s: %s", job.name, said)
        finally:
            if not database.closed:
                database.execute(query("unlock_job"), [job.name])

    def _note(self, job: Job, done: bool, said: str, seconds: float) -> None:
        if not self.site.database.closed:
            values = {"name": job.name, "done": done, "said": said, "seconds": seconds}
            self.site.database.execute(query("end_job"), values)


def _one(database: psycopg.Connection, name: str, *values: object) -> bool:
    row = database.execute(query(name), values).fetchone()
    return bool(row and row[0])
