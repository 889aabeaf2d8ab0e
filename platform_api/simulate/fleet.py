"""All simulated devices on one event loop: they connect, make records, weather storms, and are let finish."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import ssl
import time
from collections import deque
from collections.abc import Callable
from random import Random

import mqtt5

from broker.backoff import Backoff
from broker.mqtt5_protocol import ConnectPacket, Mqtt5Protocol

from ..errors import SimulateError
from .contents import Life, Pool
from .device import STORM, Device
from .settings import SimulateSettings
from .tally import Tally

TICK_S = 0.01
KEEPALIVE_S = 60
AT_A_TIME = 100  # attempts to connect; a broker's queue of new connections is not much longer
ANSWER_S = 20.0  # how long the broker may take to let a device in, when all come at once
CONNECT_S, CONNECT_EACH_S = 20.0, 0.02  # how long the fleet may take to connect
MOST_AT_ONCE = 2000  # records made without giving the network its turn
SAMPLES = 10_000  # that wait for a person
GOODBYE_S = 10.0


class Fleet:
    """`run` plays everything once. `tally` counts meanwhile, `devices` know what they made."""

    def __init__(self, settings: SimulateSettings) -> None:
        self.settings, self.tally = settings, Tally()
        self.samples: deque[tuple[str, str]] = deque(maxlen=SAMPLES)  # stored, and nobody has said anything about
        self.posted: dict[tuple[str, str], float] = {}  # device and sample of a label -> when it was given
        self.phase = "connecting"
        self.began = time.monotonic()
        self.chance = Random(settings.seed)  # noqa: S311  it plays, and keeps no secret
        pool = Pool(settings.seed, settings.batch)
        bundle = f"{settings.seed:064x}"
        self.devices = [self._device(number, pool, bundle) for number in range(settings.devices)]
        self._tls: ssl.SSLContext | None = None
        self._over = self._enough = False

    def finish(self) -> None:
        """No more records from now on; what was made is still brought in and accounted for."""
        self._enough = True

    def _device(self, number: int, pool: Pool, bundle: str) -> Device:
        chance = Random(self.settings.seed * 100_003 + number)  # noqa: S311
        life = Life(pool, chance, bundle, self.settings.thumbnails)
        # Drawn anew in every run: a second run must not look like the first one sent again.
        installation = secrets.token_hex(4)
        name = f"{self.settings.name}-{number:05}"
        return Device(name, life, chance, installation, self.settings, self.tally, self)

    # ---- the world of the devices ------------------------------------------------------------------------------

    def sample_stored(self, device: str, sample: str) -> None:
        self.samples.append((device, sample))

    def label_proved(self, device: str, sample: str) -> None:
        if given := self.posted.pop((device, sample), 0.0):
            self.tally.label_to_applied.add(time.monotonic() - given)

    # ---- the run -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Raises SimulateError when not one device can connect."""
        self._tls = self.settings.address("").tls_context() if self.settings.address("").tls else None
        gate = asyncio.Semaphore(AT_A_TIME)
        await self._make_backlog()
        links = [asyncio.create_task(self._keep_link(device, gate)) for device in self.devices]
        chores = [asyncio.create_task(chore) for chore in (self._look_after(), self._storms())]
        try:
            await self._all_connected()
            self.phase = "making"
            await self._make_records()
            self.phase = "draining"
            chores.pop().cancel()
            await self._until(lambda: not self.tally.waiting and not self.posted, self.settings.drain)
        finally:
            self.phase = "leaving"
            await self._leave()
            for task in (*chores, *links):
                task.cancel()
            await asyncio.gather(*chores, *links, return_exceptions=True)

    async def _make_backlog(self) -> None:
        if not self.settings.backlog:
            return
        now_us, span_us = time.time_ns() // 1000, self.settings.outage_h * 3.6e9
        for device in self.devices:
            for number in range(self.settings.backlog):
                device.make(wall_us=now_us - round(span_us * (1 - (number + 0.5) / self.settings.backlog)))
            await asyncio.sleep(0)

    async def _all_connected(self) -> None:
        count = len(self.devices)
        await self._until(lambda: self.tally.connected >= count, CONNECT_S + CONNECT_EACH_S * count)
        if not self.tally.connected:
            why = self.tally.reasons.most_common(1)
            raise SimulateError(f"no device could connect: {why[0][0] if why else 'the broker does not answer'}")

    async def _make_records(self) -> None:
        began, made = time.monotonic(), 0
        end = began + self.settings.duration
        while (now := time.monotonic()) < end and not self._enough:
            due = int((now - began) * self.settings.rate) - made
            for _ in range(min(due, MOST_AT_ONCE)):
                device = self.devices[self.chance.randrange(len(self.devices))]
                if device.make():
                    device.send()
                made += 1
            await asyncio.sleep(TICK_S if due < MOST_AT_ONCE else 0)

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            now = time.monotonic()
            for device in self.devices:
                if device.spool:
                    device.look(now)

    async def _storms(self) -> None:
        while self.settings.storm:
            await asyncio.sleep(self.settings.storm)
            if self.phase != "making":
                continue
            self.tally.storms += 1
            count = round(len(self.devices) * self.settings.storm_share)
            for device in self.chance.sample(self.devices, count):
                if self.chance.random() < self.settings.reboots:
                    device.boot_anew()
                    self.tally.reboots += 1
                device.break_link(STORM)

    async def _leave(self) -> None:
        self._over = True
        for device in self.devices:
            device.say_goodbye()
        await asyncio.sleep(TICK_S)
        for device in self.devices:
            if device.protocol is not None:
                device.protocol.disconnect()
        await self._until(lambda: not self.tally.connected, GOODBYE_S)

    async def _until(self, ready: Callable[[], bool], timeout_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not ready():
                    await asyncio.sleep(TICK_S)

    # ---- links -------------------------------------------------------------------------------------------------

    async def _keep_link(self, device: Device, gate: asyncio.Semaphore) -> None:
        backoff = Backoff(device.chance, min(0.5, self.settings.reconnect_s), self.settings.reconnect_s)
        ended = asyncio.Event()
        device.over = ended.set
        while not self._over:
            ended.clear()
            began = time.monotonic()
            async with gate:
                up = await self._connect(device)
            if up:
                await ended.wait()
            await asyncio.sleep(backoff.pause(time.monotonic() - began))

    async def _connect(self, device: Device) -> bool:
        """Whether there is a link now, on which the broker has still to answer."""
        self.tally.attempts += 1
        device.session += 1
        address = self.settings.address(device.name)
        made = Mqtt5Protocol(self._hello(device), device, answer_within_s=ANSWER_S)
        device.protocol = made
        try:
            async with asyncio.timeout(ANSWER_S):
                await asyncio.get_running_loop().create_connection(
                    lambda: made, address.host, address.port, ssl=self._tls
                )
        except OSError as error:
            device.protocol = None
            self.tally.reasons[f"no link to {address}: {error.strerror or error}"] += 1
            return False
        return True

    def _hello(self, device: Device) -> ConnectPacket:
        address = self.settings.address(device.name)
        topic, payload = device.will()
        return ConnectPacket(
            device.name,
            username=address.username or None,
            password=address.password.encode() if address.password else None,
            clean_start=True,
            will=mqtt5.Will(topic, payload=payload, qos=mqtt5.QoS.AT_LEAST_ONCE, retain=True),
            keep_alive=KEEPALIVE_S,
            receive_max=256,
        )
