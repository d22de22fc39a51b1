"""A real SIP telephone, baresip, which speaks a WAV file and records what it hears."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests import processes
from tests.pbx import programs

BARESIP = "usr/bin/baresip"

CONFIG = """
sip_listen 127.0.0.1:{sip}
net_interface 127.0.0.1
rtp_ports 30000-31999
module_path {modules}
module g711.so
module aufile.so
module_tmp uuid.so
module_tmp account.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen 127.0.0.1:{control}
audio_source aufile,{microphone}
audio_player aufile,{heard}
audio_alert aufile,/dev/null
ausrc_srate 8000
auplay_srate 8000
ausrc_channels 1
auplay_channels 1
"""


class Phone:
    """One telephone. It is told what to do, and tells what happens, over a socket of its own.

    Args:
        folder: for its configuration; `heard` is in it.
        microphone: what it says once the call is answered: a WAV file of 16 bits and 8000 Hz,
            longer than the call.
    """

    def __init__(self, folder: Path, microphone: Path) -> None:
        self.folder = folder
        self.microphone = microphone
        self.heard = folder / "heard.wav"
        self.output = folder / "output"
        self.events: list[str] = []
        self._control = programs.free_port()
        self._news = asyncio.Condition()
        self._process: subprocess.Popen[bytes] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._writer: asyncio.StreamWriter | None = None
        folder.mkdir(parents=True)
        files = {
            "accounts": "<sip:phone@127.0.0.1>;regint=0;audio_codecs=PCMU\n",
            "config": CONFIG.format(
                sip=programs.free_port(),
                modules=programs.ROOT / "usr/lib/baresip/modules",
                control=self._control,
                microphone=microphone,
                heard=self.heard,
            ),
        }
        for name, text in files.items():
            (folder / name).write_text(text)

    async def start(self) -> None:
        """Switch it on.

        Raises:
            RuntimeError: it did not start; holds what it said.
        """
        command = programs.command(BARESIP, "-f", self.folder)
        self._process = processes.start(command, self.output)
        while True:
            if self._process.poll() is not None:
                raise RuntimeError(f"baresip did not start:\n{self.output.read_text()}")
            with contextlib.suppress(ConnectionError):
                reader, self._writer = await asyncio.open_connection("127.0.0.1", self._control)
                break
            await asyncio.sleep(0.02)
        self._reading = asyncio.create_task(self._read(reader))

    async def stop(self) -> None:
        """Switch it off, and with it the call. Safe to call twice."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
        if self._writer is not None:
            self._writer.close()
        if self._process is not None:
            processes.stop(self._process)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        """Note the events: netstrings that hold JSON."""
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                length = int((await reader.readuntil(b":"))[:-1])
                message: dict[str, Any] = json.loads((await reader.readexactly(length + 1))[:-1])
                if message.get("event"):
                    async with self._news:
                        self.events.append(message["type"])
                        self._news.notify_all()

    def _command(self, name: str, parameters: str = "") -> None:
        assert self._writer is not None, "the phone is off"
        text = json.dumps({"command": name, "params": parameters}).encode()
        self._writer.write(b"%d:%s," % (len(text), text))

    async def until(self, event: str) -> None:
        """Wait for an event of that name, e.g. ``CALL_CLOSED``."""
        async with self._news:
            await self._news.wait_for(lambda: event in self.events)

    async def dial(self, port: int, extension: str) -> None:
        """Call an extension of the exchange at that port; return once it has answered."""
        self._command("dial", f"sip:{extension}@127.0.0.1:{port}")
        await self.until("CALL_ESTABLISHED")

    def press(self, keys: str) -> None:
        """Press keys, as RTP events (RFC 4733)."""
        self._command("sndcode", keys)

    async def hang_up(self) -> None:
        """End the call."""
        self._command("hangup")
        await self.until("CALL_CLOSED")


@contextlib.asynccontextmanager
async def switched_on(folder: Path, microphone: Path) -> AsyncIterator[Phone]:
    """A telephone that is on while the context lasts."""
    phone = Phone(folder, microphone)
    try:
        await phone.start()
        yield phone
    finally:
        await phone.stop()
