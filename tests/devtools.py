"""A headless Chromium, driven over its DevTools protocol.

https://chromedevtools.github.io/devtools-protocol/ describes it (Target, Page, Runtime, Input,
Emulation, Accessibility). Each page has a profile of its own. Everything that it complains of is
kept: `Page.complaints` has to be empty at the end of a test.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--mute-audio",
    "--no-first-run", "--no-default-browser-check", "--disable-extensions", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--no-pings",
    "--disable-domain-reliability", "--metrics-recording-only",
    "--disable-features=OptimizationHints,MediaRouter,DialMediaRouteProvider,Translate",
    "--force-color-profile=srgb", "--hide-scrollbars", "--window-size=1280,900",
    "--remote-debugging-port=0",
)  # fmt: skip
MICROPHONE = "--use-fake-device-for-media-stream"
"""The machine has sound devices. The microphone beeps, unless `recording` says what it hears."""

_START = 30.0
"""Seconds that it may take to start on a busy machine."""
PATIENCE = 15.0
"""Seconds for which a page is waited for."""

KEYS = {
    "Tab": 9, "Enter": 13, " ": 32, "PageUp": 33, "PageDown": 34, "End": 35, "Home": 36,
    "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40,
}  # fmt: skip
"""Windows' virtual key codes, as the protocol wants them."""

Params = dict[str, Any]


def program() -> str | None:
    """Where Chromium is: what ``AGENTKIT_CHROMIUM`` names, else what this machine has."""
    named = os.environ.get("AGENTKIT_CHROMIUM")
    return named or next(filter(None, map(shutil.which, NAMES)), None)


def recording(path: Path) -> str:
    """The flag that makes a WAV file what the microphone hears, once."""
    return f"--use-file-for-fake-audio-capture={path}%noloop"


@contextlib.asynccontextmanager
async def browser(profile: Path, *flags: str) -> AsyncIterator[Browser]:
    """A browser with a profile of its own; it is gone at the end, with all its processes."""
    found = program()
    assert found is not None, "there is no Chromium: make test-page installs it"
    log = (profile / "chromium.log").open("wb")
    process = await asyncio.create_subprocess_exec(
        found, *FLAGS, *flags, f"--user-data-dir={profile}", "about:blank",
        stdout=log, stderr=log, start_new_session=True,
    )  # fmt: skip
    try:
        url = await asyncio.wait_for(_address(profile, process), _START)
        async with connect(
            url, max_size=None, compression=None, proxy=None, ping_interval=None
        ) as socket:
            driven = Browser(socket)
            reading = asyncio.create_task(driven.read())
            try:
                yield driven
                await driven.send("Browser.close")
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
    finally:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), 5)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        await process.wait()
        log.close()


async def _address(profile: Path, process: asyncio.subprocess.Process) -> str:
    """Where it listens: it writes its port into its profile when it does."""
    file = profile / "DevToolsActivePort"
    while not (file.exists() and len(lines := file.read_text().split()) == 2):
        assert process.returncode is None, (profile / "chromium.log").read_text()
        await asyncio.sleep(0.05)
    return f"ws://127.0.0.1:{lines[0]}{lines[1]}"


class Browser:
    """Commands over its socket, and what it reports of its pages."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Params]] = {}
        self._listeners: dict[str, Callable[[str, Params], None]] = {}

    async def read(self) -> None:
        """Take what comes, until the socket closes."""
        async for data in self._socket:
            message = json.loads(data)
            if waiting := self._answers.pop(message.get("id"), None):
                if not waiting.done():
                    waiting.set_result(message)
            elif listener := self._listeners.get(message.get("sessionId", "")):
                listener(message["method"], message["params"])

    async def send(self, method: str, session: str = "", **params: Any) -> Params:
        """Send a command; return what it answers."""
        number = next(self._ids)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        command: Params = {"id": number, "method": method, "params": params}
        if session:
            command["sessionId"] = session
        await self._socket.send(json.dumps(command))
        message = await asyncio.wait_for(answer, 20)
        assert "error" not in message, f"{method}: {message['error']}"
        result: Params = message["result"]
        return result

    async def new(self) -> Page:
        """An empty page in a profile of its own. It is to be closed."""
        context = (await self.send("Target.createBrowserContext"))["browserContextId"]
        target = await self.send("Target.createTarget", url="about:blank", browserContextId=context)
        attached = await self.send(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        page = Page(self, attached["sessionId"], context)
        self._listeners[attached["sessionId"]] = page.take
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
            await page.send(f"{domain}.enable")
        return page

    @contextlib.asynccontextmanager
    async def page(self) -> AsyncIterator[Page]:
        """An empty page, until the block is left."""
        page = await self.new()
        try:
            yield page
        finally:
            await page.close()


class Page:
    """A page.

    Attributes:
        complaints: errors and warnings of its console, and exceptions that nobody caught.
        requests: addresses of all that it asked for, sockets too.
    """

    def __init__(self, browser: Browser, session: str, context: str) -> None:
        self._browser, self._session, self._context = browser, session, context
        self._loaded = asyncio.Event()
        self.complaints: list[str] = []
        self.requests: list[str] = []

    def take(self, method: str, params: Params) -> None:
        """Take note of what the browser reports."""
        if method == "Page.loadEventFired":
            self._loaded.set()
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.complaints.append(json.dumps(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Network.webSocketCreated":
            self.requests.append(params["url"])

    async def send(self, method: str, **params: Any) -> Params:
        """Send a command to this page."""
        return await self._browser.send(method, self._session, **params)

    async def close(self) -> None:
        """Close it, whatever it is doing, and its profile with it."""
        await self._browser.send("Target.disposeBrowserContext", browserContextId=self._context)

    async def microphone(self, setting: str = "granted") -> None:
        """Whether pages may use the microphone: ``granted``, ``denied`` or ``prompt``."""
        await self._browser.send(
            "Browser.setPermission",
            permission={"name": "microphone"},
            setting=setting,
            browserContextId=self._context,
        )

    async def goto(self, url: str) -> None:
        """Load an address, to the end of its own loading."""
        self._loaded.clear()
        answer = await self.send("Page.navigate", url=url)
        assert "errorText" not in answer, answer["errorText"]
        await asyncio.wait_for(self._loaded.wait(), 20)

    async def do(self, script: str) -> Any:
        """The value of an expression, or of what it promises."""
        answer = await self.send(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True,
            userGesture=True,
        )  # fmt: skip
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def until(self, script: str, seconds: float = PATIENCE) -> Any:
        """Wait until an expression holds; return its value."""
        try:
            return await eventually(lambda: self.do(script), script, seconds)
        except AssertionError as error:
            shown = await self.do("document.body.innerText")
            raise AssertionError(f"{error}; the page is: {shown}") from None

    async def click(self, selector: str, x: float = 0.5, y: float = 0.5) -> None:
        """Click with the mouse on a place of an element, given in parts of its size."""
        box = await self.do(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center', behavior: 'instant'});"
            "const b = e.getBoundingClientRect(); return [b.left, b.top, b.width, b.height]; })()"
        )
        at = {"x": box[0] + x * box[2], "y": box[1] + y * box[3]}
        for kind in ("mousePressed", "mouseReleased"):
            await self.send(
                "Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **at
            )

    async def press(self, key: str) -> None:
        """Press a key of `KEYS` by its name."""
        named = {"key": key, "code": key.strip() or "Space", "windowsVirtualKeyCode": KEYS[key]}
        text = {"Enter": "\r", " ": " "}.get(key, "")
        await self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **named)
        await self.send("Input.dispatchKeyEvent", type="keyUp", **named)

    async def type(self, text: str) -> None:
        """Type into what has the focus."""
        await self.send("Input.insertText", text=text)

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

    async def _read_out(self) -> list[Params]:
        nodes = (await self.send("Accessibility.getFullAXTree"))["nodes"]
        return [{"properties": [], **node} for node in nodes if not node["ignored"]]

    async def scheme(self, scheme: str, width: int = 1280, height: int = 900) -> None:
        """Light or dark, and how large the window is."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await self.send("Emulation.setEmulatedMedia", features=features)
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
            mobile=False,
        )  # fmt: skip

    async def picture(self, *, whole: bool = False) -> bytes:
        """A screenshot of the window, or of the whole page, as PNG."""
        shot = await self.send("Page.captureScreenshot", captureBeyondViewport=whole)
        return base64.b64decode(shot["data"])

    async def pdf(self) -> bytes:
        """The page as it prints."""
        return base64.b64decode((await self.send("Page.printToPDF", printBackground=True))["data"])


async def eventually(ask: Callable[[], Awaitable[Any]], what: str, seconds: float) -> Any:
    """Ask again until the answer is true."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not (value := await ask()):
        assert loop.time() < end, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.03)
    return value
