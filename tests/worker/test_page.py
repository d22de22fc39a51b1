"""The page, in Chromium: a person speaks, and reads what the model hears."""

from __future__ import annotations

import asyncio
import json
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import pytest_asyncio
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from tests import devtools
from tests.devtools import MICROPHONE, Browser, Page
from tests.worker.conftest import Start
from tests.worker.speech import Speech, likeness
from tests.worker.worker import SECRET, Worker
from tests.worker.workers_ai import WorkersAI

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(60)]

PROBLEM = "document.getElementById('problem').textContent"
STATUS = "document.getElementById('status').textContent"
TURNS = "[...document.querySelectorAll('#turns li')].map((turn) => turn.textContent)"
ROWS = "[...events.rows].map((row) => [...row.cells].map((cell) => cell.textContent.trim()))"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def with_microphone(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    """A browser on a machine with a microphone, which beeps."""
    folder = tmp_path_factory.mktemp("chromium")
    async with devtools.browser(folder, MICROPHONE) as browser:
        yield browser


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def without_microphone(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    folder = tmp_path_factory.mktemp("chromium")
    rule = "--host-resolver-rules=MAP insecure.test 127.0.0.1"
    async with devtools.browser(folder, rule) as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="session")
async def tab(with_microphone: Browser, worker: Worker) -> AsyncIterator[Page]:
    """The page, open."""
    async with with_microphone.page() as tab:
        await tab.microphone()
        await tab.goto(worker.http("/"))
        yield tab


async def begin(tab: Page, token: str = SECRET) -> None:
    """Enter the token and start, as one does without a mouse."""
    await tab.press("Tab")
    await tab.type(token)
    await tab.press("Enter")


def write_speech(path: Path, sentences: list[Speech]) -> None:
    """A microphone's recording: the sentences, with the time to start before, and pauses after."""
    second = bytes(2 * 16000)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(second * 2)
        for sentence in sentences:
            file.writeframes(sentence.samples + second * 2)


def write(path: Path, data: bytes) -> None:
    """Kept for whoever wants to look at it: pytest tells where, with --basetemp."""
    path.write_bytes(data)


class Script:
    """A model that says these messages to whoever speaks, then goes on listening.

    Args:
        messages: JSON objects.
        close: then close with this code and reason.
    """

    def __init__(self, *messages: dict[str, Any], close: tuple[int, str] | None = None) -> None:
        self.messages = messages
        self.close = close
        self.chunks: list[str | bytes] = []
        self.ended: asyncio.Future[tuple[int | None, str | None]] = (
            asyncio.get_running_loop().create_future()
        )

    async def __call__(self, connection: ServerConnection) -> None:
        self.chunks.append(await connection.recv())
        for message in self.messages:
            await connection.send(json.dumps(message))
        if self.close is not None:
            await connection.close(*self.close)
        try:
            async for chunk in connection:
                self.chunks.append(chunk)
        except ConnectionClosed:
            pass
        self.ended.set_result((connection.close_code, connection.close_reason))


async def test_what_is_spoken_is_shown_turn_by_turn(
    worker: Worker, workers_ai: WorkersAI, sentences: list[Speech], tmp_path: Path
) -> None:
    said = [sentences[1], sentences[4]]
    write_speech(tmp_path / "microphone.wav", said)
    recording = devtools.recording(tmp_path / "microphone.wav")
    async with devtools.browser(tmp_path, MICROPHONE, recording) as browser:
        async with browser.page() as tab:
            await tab.microphone()
            await tab.goto(worker.http("/"))
            await begin(tab)
            await tab.until(f"{STATUS} === 'Listening.'")
            turns = await tab.until(f"{TURNS}.length === 2 && {TURNS}")
            rows = list(reversed(await tab.do(ROWS)))
            for scheme in ("light", "dark"):
                await tab.scheme(scheme)
                write(tmp_path / f"{scheme}.png", await tab.picture(whole=True))
            assert await tab.focused() == ("textbox", "Token")
            await tab.press("Tab")
            assert await tab.focused() == ("button", "Stop")
            await tab.press(" ")
            await tab.until(f"{STATUS} === 'Not listening.'")
    for turn, speech in zip(turns, said, strict=True):
        assert likeness(speech.text, turn) > 0.85, turn
    assert workers_ai.asked[0].inputs == {
        "encoding": "linear16",
        "sample_rate": "16000",
        "eot_threshold": "0.7",
        "eager_eot_threshold": "0.4",
    }
    check_rows(rows, turns)
    assert tab.complaints == []
    check_traffic(tab, worker)
    assert SECRET not in worker.output.read_text()


def check_traffic(tab: Page, worker: Worker) -> None:
    """The page asks the Worker only, and the secret is in no address."""
    asked = [urlsplit(url) for url in tab.requests if not url.startswith("data:")]
    assert {url.netloc for url in asked} == {worker.host}
    own = {"/", "/app.js", "/listener.js", "/style.css"}
    assert {url.path for url in asked} == own | {"/token", "/flux"}
    assert not [url for url in asked if SECRET in url.query]


def check_rows(rows: list[list[str]], turns: list[str]) -> None:
    """The table holds the events as they came, and the words of each end with their times."""
    events = [row[2] for row in rows]
    assert {"Update", "StartOfTurn", "EagerEndOfTurn", "EndOfTurn"} <= set(events)
    changes = [event for event in events if event in ("StartOfTurn", "EndOfTurn")]
    assert changes == ["StartOfTurn", "EndOfTurn"] * 2
    heard = [float(row[0]) for row in rows]
    assert heard == sorted(heard)
    ends = [row for row in rows if row[2] == "EndOfTurn"]
    for number, (end, turn) in enumerate(zip(ends, turns, strict=True)):
        assert end[1] == str(number)
        assert 0.0 <= float(end[3]) <= 1.0
        pieces = end[4].split()
        assert " ".join(pieces[::2]) == turn
        times = [[float(time) for time in piece.split("–")] for piece in pieces[1::2]]
        assert all(first < last for first, last in times)
        assert times == sorted(times)


async def test_the_page_is_read_out_and_reached_by_keys(tab: Page) -> None:
    assert await tab.named("heading") == ["Turns, as Flux hears them", "Turns", "Events"]
    assert await tab.named("columnheader") == [
        "Heard", "Turn", "Event", "End confidence", "Words",
    ]  # fmt: skip
    assert (await tab.named("log"), await tab.named("meter")) == (["Turns"], ["Microphone level"])
    assert await tab.do("document.documentElement.lang") == "en"
    reached = []
    for _ in range(4):
        await tab.press("Tab")
        reached.append(await tab.focused())
    assert reached == [
        ("textbox", "Token"),
        ("button", "Start"),
        ("checkbox", "Show updates"),
        ("region", "List of events"),
    ]
    assert tab.complaints == []


async def test_audio_is_sent_in_chunks_of_80_ms(tab: Page, workers_ai: WorkersAI) -> None:
    script = workers_ai.serve = Script()
    await begin(tab)
    await tab.until("level.value > 0.05")
    await tab.press("Enter")
    async with asyncio.timeout(5):
        assert await script.ended == (1000, "stopped")
    assert {len(chunk) for chunk in script.chunks if isinstance(chunk, bytes)} == {2560}
    assert {type(chunk) for chunk in script.chunks} == {bytes}
    assert await tab.until(f"{STATUS} === 'Not listening.'")
    assert await tab.do("[button.textContent, problem.hidden, level.value]") == [
        "Start", True, 0,
    ]  # fmt: skip


async def test_a_browser_that_does_not_convert_sends_at_the_microphones_own_rate(
    with_microphone: Browser, worker: Worker, workers_ai: WorkersAI
) -> None:
    """Firefox joins a microphone to a context of its own rate only (Mozilla bug 1725336)."""
    script = workers_ai.serve = Script()
    async with with_microphone.page() as tab:
        await tab.microphone()
        firefox = """
            const own = AudioContext.prototype.createMediaStreamSource;
            AudioContext.prototype.createMediaStreamSource = function (stream) {
              if (this.sampleRate === 16000) throw new DOMException("", "NotSupportedError");
              return own.call(this, stream);
            };
        """
        await tab.send("Page.addScriptToEvaluateOnNewDocument", source=firefox)
        await tab.goto(worker.http("/"))
        await begin(tab)
        await tab.until("level.value > 0.05")
        await tab.press("Enter")
        async with asyncio.timeout(5):
            await script.ended
    rate = int(workers_ai.asked[0].inputs["sample_rate"])
    assert rate in (44100, 48000)
    assert {len(chunk) for chunk in script.chunks} == {2 * round(rate * 0.08)}


def turn(event: str, text: str, **more: Any) -> dict[str, Any]:
    """A message with what Cloudflare's schema has, and no more."""
    return {
        "request_id": "r", "sequence_id": 1, "event": event, "turn_index": 0,
        "audio_window_start": 0.0, "audio_window_end": 1.25, "transcript": text,
        "words": [{"word": word, "confidence": 0.9} for word in text.split()],
        "end_of_turn_confidence": 0.5, **more,
    }  # fmt: skip


async def test_every_kind_of_event_is_shown_in_cloudflares_form(
    tab: Page, workers_ai: WorkersAI
) -> None:
    workers_ai.serve = Script(
        {"type": "Connected", "request_id": "r", "sequence_id": 0},
        turn("StartOfTurn", "Can"),
        turn("Update", "Can you"),
        turn("EagerEndOfTurn", "Can you"),
        turn("TurnResumed", "Can you move"),
        turn("EndOfTurn", "Can you <b>move</b> it?"),
    )
    await begin(tab)
    assert await tab.until(f"{TURNS}.length && {TURNS}") == ["Can you <b>move</b> it?"]
    assert await tab.do(ROWS) == [
        ["1.25", "0", "EndOfTurn", "0.50", "Can you <b>move</b> it?"],
        ["1.25", "0", "TurnResumed", "0.50", "Can you move"],
        ["1.25", "0", "EagerEndOfTurn", "0.50", "Can you"],
        ["1.25", "0", "Update", "0.50", "Can you"],
        ["1.25", "0", "StartOfTurn", "0.50", "Can"],
    ]
    seen = "[...events.rows].filter((row) => row.checkVisibility()).length"
    assert await tab.do(seen) == 5
    await tab.press("Tab")
    await tab.press("Tab")
    await tab.press(" ")
    assert await tab.do(seen) == 4


async def test_an_end_without_words_has_those_since_the_turn_was_resumed(
    tab: Page, workers_ai: WorkersAI
) -> None:
    """Reported of Cloudflare: cloudflare/agents#1454, #1497."""
    workers_ai.serve = Script(
        turn("StartOfTurn", "Hello"), turn("Update", "Hello there"), turn("EndOfTurn", ""),
        turn("StartOfTurn", "Taken", turn_index=1), turn("EagerEndOfTurn", "Taken back"),
        turn("TurnResumed", ""), turn("EndOfTurn", "", turn_index=1),
        turn("StartOfTurn", "No", turn_index=2), turn("EndOfTurn", "No more", turn_index=2),
    )  # fmt: skip
    await begin(tab)
    assert await tab.until(f"{TURNS}.length === 2 && {TURNS}") == ["Hello there", "No more"]
    assert await tab.do("[...turns.children].map((turn) => turn.value)") == [0, 2]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ({"close": (1011, "out of capacity")}, "The connection was closed: out of capacity."),
        ({"close": (1013, "")}, "The connection was closed: code 1013."),
        (
            {"message": {"type": "Error", "code": "NET", "description": "it broke"}},
            "The model failed: it broke.",
        ),
    ],
)
async def test_a_call_that_ends_by_itself_says_why(
    tab: Page, workers_ai: WorkersAI, script: dict[str, Any], said: str
) -> None:
    messages = [script["message"]] if "message" in script else []
    workers_ai.serve = Script(*messages, close=script.get("close"))
    await begin(tab)
    assert await tab.until(PROBLEM) == said
    assert await tab.do(f"[{STATUS}, button.textContent]") == ["Not listening.", "Start"]
    assert await tab.named("alert") == [""]


async def test_a_refused_token_says_so_and_the_next_try_may_succeed(
    tab: Page, workers_ai: WorkersAI
) -> None:
    workers_ai.serve = Script()
    await begin(tab, "")
    assert await tab.until(PROBLEM) == "Enter the token first."
    await tab.type("wrong")
    await tab.press("Enter")
    assert await tab.until(f"{PROBLEM}.includes('said') && {PROBLEM}") == (
        "The Worker said: The token is wrong."
    )
    await tab.do("token.select()")
    await tab.type(SECRET)
    await tab.press("Enter")
    await tab.until(f"{STATUS} === 'Listening.'")
    assert await tab.do("problem.hidden") is True


async def test_a_signed_token_may_be_entered_too(tab: Page, workers_ai: WorkersAI) -> None:
    workers_ai.serve = Script()
    expired = f"1700000000.{'A' * 43}"
    await begin(tab, expired)
    assert await tab.until(PROBLEM) == "The Worker said: The signed token is wrong."
    assert [url for url in tab.requests if url.endswith("/token")] == []
    [opened] = [url for url in tab.requests if url.startswith("ws:")]
    assert parse_qs(urlsplit(opened).query)["token"] == [expired]


async def test_on_this_machine_no_token_need_be_entered(
    with_microphone: Browser, start: Start, workers_ai: WorkersAI
) -> None:
    workers_ai.serve = Script()
    with start(FLUX_TOKEN=SECRET, DEV_TOKENS="true") as developing:
        async with with_microphone.page() as tab:
            await tab.microphone()
            await tab.goto(developing.http("/"))
            await begin(tab, "")
            await tab.until(f"{STATUS} === 'Listening.'")


async def test_a_model_that_does_not_open_is_said(tab: Page, workers_ai: WorkersAI) -> None:
    workers_ai.refusal = (500, "")  # type: ignore[assignment]
    await begin(tab)
    assert await tab.until(PROBLEM) == "The Worker cannot reach the model. Try again later."


async def test_a_microphone_that_is_not_allowed_is_said(
    with_microphone: Browser, worker: Worker
) -> None:
    async with with_microphone.page() as tab:
        await tab.microphone("denied")
        await tab.goto(worker.http("/"))
        await begin(tab)
        assert await tab.until(PROBLEM) == (
            "The browser does not let this page use the microphone. "
            "Allow it beside the address, then start again."
        )
        assert [url for url in tab.requests if url.endswith("/token")] == []


async def test_a_machine_without_a_microphone_is_said(
    without_microphone: Browser, worker: Worker
) -> None:
    async with without_microphone.page() as tab:
        await tab.microphone()
        await tab.goto(worker.http("/"))
        await begin(tab)
        assert await tab.until(PROBLEM) == (
            "There is no microphone. Plug one in, then start again."
        )


async def test_a_page_that_is_not_secure_is_said_at_once(
    without_microphone: Browser, worker: Worker
) -> None:
    async with without_microphone.page() as tab:
        await tab.goto(f"http://insecure.test:{worker.host.split(':')[1]}/")
        assert await tab.until(PROBLEM) == (
            "Browsers give the microphone to secure pages only: "
            "open this page over https, or on localhost."
        )
        assert await tab.do("button.disabled") is True
