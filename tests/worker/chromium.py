"""A headless Chromium with a file for its microphone, driven by its keyboard.

It is spoken to in the Chrome DevTools Protocol (chromedevtools.github.io/devtools-protocol).
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import re
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect

from tests.pbx.programs import start, stop

STARTING = 20.0
"""Seconds it has to start in."""
PATIENCE = 15.0
"""Seconds for which a page is waited for."""

QUIET = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--mute-audio",
    "--no-first-run", "--no-default-browser-check", "--no-pings", "--disable-extensions",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-domain-reliability", "--metrics-recording-only",
    "--disable-features=OptimizationHints,MediaRouter,DialMediaRouteProvider,Translate",
]  # fmt: skip
"""Without a screen, a sandbox (which root cannot have), or any traffic of its own."""

KEYS = {"Tab": 9, "Enter": 13, " ": 32}
"""Windows' virtual key codes, as the protocol wants them."""

_WATCH = """
new Promise((resolve) => {
  const check = () => {
    const value = (%s);
    if (value) { observer.disconnect(); resolve(value); }
  };
  const observer = new MutationObserver(check);
  const all = { subtree: true, childList: true, characterData: true, attributes: true };
  observer.observe(document, all);
  check();
})
"""


@dataclass
class Tab:
    """A page in a profile of its own.

    Attributes:
        asked: the addresses that it has asked for, sockets included.
        complaints: what it has written to the console, and the errors that nobody caught.
    """

    browser: Browser
    session: str
    context: str
    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    _loaded: asyncio.Future[None] | None = None

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return await self.browser.call(method, session=self.session, **parameters)

    async def go(self, url: str) -> None:
        """Open the address and wait until the page is there and its script has run."""
        loaded = self._loaded = asyncio.get_running_loop().create_future()
        async with asyncio.timeout(PATIENCE):
            await self.call("Page.navigate", url=url)
            await loaded

    async def evaluate(self, expression: str) -> Any:
        answer = await self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def until(self, expression: str) -> Any:
        """Wait until this is true in the page; returns its value then."""
        try:
            async with asyncio.timeout(PATIENCE):
                return await self.evaluate(_WATCH % expression)
        except TimeoutError:
            shown = await self.evaluate("document.body.innerText")
            raise AssertionError(f"{expression} did not come true; the page is: {shown}") from None

    async def press(self, key: str) -> None:
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        for kind in ("keyDown", "keyUp"):
            await self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key.strip() or "Space",
                text=text if kind == "keyDown" else "",
                windowsVirtualKeyCode=KEYS[key],
            )

    async def type(self, text: str) -> None:
        await self.call("Input.insertText", text=text)

    async def focused(self) -> tuple[str, str]:
        """The role and the name of what has the focus, as they are read out."""
        for node in await self._read_out():
            properties = {each["name"]: each["value"].get("value") for each in node["properties"]}
            if properties.get("focused") and node["role"]["value"] != "RootWebArea":
                return node["role"]["value"], node["name"]["value"]
        return "", ""

    async def named(self, role: str) -> list[str]:
        """The names of what has this role."""
        nodes = await self._read_out()
        return [node["name"]["value"] for node in nodes if node["role"]["value"] == role]

    async def _read_out(self) -> list[dict[str, Any]]:
        nodes = (await self.call("Accessibility.getFullAXTree"))["nodes"]
        return [{"properties": [], **node} for node in nodes if not node["ignored"]]

    async def light(self, scheme: str) -> None:
        """``light`` or ``dark``."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await self.call("Emulation.setEmulatedMedia", features=features)

    async def picture(self) -> bytes:
        """What the page looks like, as PNG."""
        shot = await self.call("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(shot["data"])

    def heard(self, method: str, parameters: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.asked.append(parameters["request"]["url"])
        elif method == "Network.webSocketCreated":
            self.asked.append(parameters["url"])
        elif method == "Page.loadEventFired" and self._loaded is not None:
            self._loaded.set_result(None)
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(parameters["exceptionDetails"]))
        elif method == "Log.entryAdded":
            self.complaints.append(parameters["entry"]["text"])
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(json.dumps(parameters["args"]))


class Browser:
    """A Chromium that runs, and the connection to it."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._tabs: dict[str, Tab] = {}
        self._reader = asyncio.create_task(self._read())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)

    async def call(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": parameters}
        await self._socket.send(json.dumps(message | ({"sessionId": session} if session else {})))
        said = await answer
        assert "error" not in said, f"{method}: {said['error']}"
        result: dict[str, Any] = said["result"]
        return result

    @asynccontextmanager
    async def tab(self) -> AsyncIterator[Tab]:
        context = (await self.call("Target.createBrowserContext"))["browserContextId"]
        target = await self.call("Target.createTarget", url="about:blank", browserContextId=context)
        attached = await self.call(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        tab = Tab(self, attached["sessionId"], context)
        self._tabs[tab.session] = tab
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
            await tab.call(f"{domain}.enable")
        try:
            yield tab
        finally:
            await self.call("Target.disposeBrowserContext", browserContextId=context)

    async def _read(self) -> None:
        async for data in self._socket:
            said = json.loads(data)
            if "id" in said:
                waiting = self._waiting.pop(said["id"])
                if not waiting.done():
                    waiting.set_result(said)
            elif said.get("sessionId") in self._tabs:
                self._tabs[said["sessionId"]].heard(said["method"], said["params"])


@asynccontextmanager
async def running(folder: Path, *options: str) -> AsyncIterator[Browser]:
    """A Chromium of its own profile, until the block is left. All that it started ends with it."""
    process = _start(folder, options)
    try:
        url = await asyncio.to_thread(_address, process, folder / "chromium.log")
        async with connect(url, max_size=None, proxy=None, ping_interval=None) as socket:
            async with Browser(socket) as browser:
                yield browser
                await browser.call("Browser.close")
    finally:
        stop(process)


def _start(folder: Path, options: tuple[str, ...]) -> subprocess.Popen[bytes]:
    assert shutil.which("chromium"), "there is no chromium: make test-worker installs it"
    folder.mkdir()
    profile = f"--user-data-dir={folder / 'profile'}"
    command = ["chromium", *QUIET, profile, "--remote-debugging-port=0", *options, "about:blank"]
    return start(command, folder / "chromium.log")


def _address(process: subprocess.Popen[bytes], output: Path) -> str:
    """Where it says that it can be driven."""
    deadline = time.monotonic() + STARTING
    while time.monotonic() < deadline and process.poll() is None:
        found = re.search(r"listening on (ws://\S+)", output.read_text(errors="replace"))
        if found:
            return found[1]
        time.sleep(0.02)
    raise AssertionError(f"Chromium does not start: {output.read_text(errors='replace')}")
