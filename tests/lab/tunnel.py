"""A port of this machine that leads to a guest's agent, without a port forward of QEMU's: libvirt has no word for that, and
calls a domain tainted which is given it another way. The guest dials out beforehand and holds a few connections ready
(guest-init.sh); each is told "go" when somebody comes, answers "ok", and is the agent's from then on."""

import asyncio
import collections
import contextlib
import threading


class Tunnel:
    """port: where others find the agent; inner: what the guest dials (at 10.0.2.2). Both of 127.0.0.1."""

    WAIT_S = 10         # for a connection of the guest's
    ANSWER_S = 2        # one that was cut off by a reset does not answer

    def __init__(self):
        self._idle, self._boot = collections.deque(), None
        self._loop = asyncio.new_event_loop()
        self._more = asyncio.Event()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        ready.wait()

    def _run(self, ready):
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._listen())
        ready.set()
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _listen(self):
        outer = await asyncio.start_server(self._caller, "127.0.0.1", 0)
        inner = await asyncio.start_server(self._guest, "127.0.0.1", 0)
        self.port, self.inner = (s.sockets[0].getsockname()[1] for s in (outer, inner))
        self._servers = (outer, inner)

    def close(self):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _guest(self, reader, writer):
        """Its first line is its boot's id: what an earlier boot held ready is dead, though nobody said so."""
        boot = await reader.readline()
        if not boot.endswith(b"\n"):
            writer.close()
            return
        if boot != self._boot:
            self._boot = boot
            while self._idle:
                self._idle.popleft()[1].close()
        self._idle.append((reader, writer))
        self._more.set()

    async def _taken(self):
        """A connection of the guest's that has answered."""
        while True:
            while not self._idle:
                self._more.clear()
                await self._more.wait()
            reader, writer = self._idle.popleft()
            with contextlib.suppress(OSError, asyncio.TimeoutError):
                writer.write(b"go\n")
                if await asyncio.wait_for(reader.readline(), self.ANSWER_S) == b"ok\n":
                    return reader, writer
            writer.close()

    async def _caller(self, reader, writer):
        with contextlib.suppress(asyncio.CancelledError):       # by close()
            await self._lead(reader, writer)

    async def _lead(self, reader, writer):
        try:
            there, back = await asyncio.wait_for(self._taken(), self.WAIT_S)
        except asyncio.TimeoutError:
            writer.close()
            return
        ways = [asyncio.ensure_future(copy(reader, back)), asyncio.ensure_future(copy(there, writer))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        for end in (writer, back):
            end.close()


async def copy(reader, writer):
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
