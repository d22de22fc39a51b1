"""Conversations in a real browser: a recorded voice for a microphone, keys for hands."""

from __future__ import annotations

import asyncio
import math
import signal
import time
import wave
from array import array
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from agentkit import plugins
from agentkit.audio.formats import AudioFormat
from agentkit.audio.resample import convert
from agentkit.server.desk import Rules
from agentkit.testing.backends import ScriptedLLM, ScriptedTTS
from agentkit.tts.base import SpeechAudio
from tests import devtools
from tests.devtools import MICROPHONE, Browser, Page
from tests.server.reception import Reception, Receptionist, serving, until
from tests.server.serving import served
from tests.worker.speech import likeness

pytestmark = pytest.mark.asyncio(loop_scope="session")

CALLER = AudioFormat("linear16", 16000)
VOICE = AudioFormat("linear16", 24000)
EXAMPLE = Path(__file__).parents[2] / "examples" / "receptionist.py"
STATE = "document.body.dataset.state"
PROBLEM = "!problem.hidden && problem.textContent"
LINES = """[...document.querySelectorAll('#lines li')].map((line) =>
    [line.className, line.querySelector('.words').textContent])"""


class Clinic(Receptionist):
    """Greets at length, so that there is something to talk over."""

    greeting = "This is the clinic, and this greeting goes on and on, for as long as it takes."


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def desk(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    """A browser on a machine with sound devices; its microphone beeps once a second."""
    rule = "--host-resolver-rules=MAP insecure.test 127.0.0.1"
    async with devtools.browser(tmp_path_factory.mktemp("desk"), MICROPHONE, rule) as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="session")
async def page(desk: Browser) -> AsyncIterator[Page]:
    """An empty page that may use the microphone, and that has to complain of nothing."""
    async with desk.page() as page:
        await page.microphone()
        yield page
        assert page.complaints == []


def reception(agent: type[Receptionist] = Receptionist, **options: Any) -> Any:
    return serving(agent, **{"voice": VOICE, "replies": {"*": "Good."}, **options})


async def talk(page: Page, server: Reception) -> None:
    """Open the page, and begin a conversation."""
    await page.goto(f"{server.url}/")
    await page.click("#talk")
    await page.until(f"{STATE} === 'listening' || {STATE} === 'speaking'")


def loud(data: bytes) -> bool:
    return max(map(abs, array("h", data)), default=0) > 1000


# -------------------------------------------------------------------------- spoken, both ways


async def spoken(*parts: str | float) -> bytes:
    """Sentences in a voice that is not the agent's, and pauses in seconds."""
    voice = plugins.load_tts("local/pico:en-GB")
    made = b""
    for part in parts:
        if isinstance(part, float):
            made += CALLER.silence(part)
            continue
        stream = voice.open()
        stream.push(part)
        stream.end()
        sound = b"".join([event.data async for event in stream if isinstance(event, SpeechAudio)])
        made += convert(sound, voice.format, CALLER)
    return made


def write(path: Path, data: bytes) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(CALLER.rate)
        file.writeframes(data)


def keep(path: Path, data: bytes) -> None:
    """For whoever wants to look at it: pytest tells where, with --basetemp."""
    path.write_bytes(data)


@pytest.mark.timeout(90)
async def test_a_spoken_conversation_with_the_offline_engine(tmp_path: Path) -> None:
    """`agentkit serve` as it is installed: speech goes in, is recognised, answered and heard."""
    write(tmp_path / "caller.wav", await spoken(2.5, "When are you open on Wednesday?", 4.5))
    brief = EXAMPLE.read_text().replace(", good morning. How can I help you?", ".")
    (tmp_path / "receptionist.py").write_text(brief)
    heard = "[...document.querySelectorAll('#lines .agent')].at(-1)?.textContent ?? ''"
    flags = (MICROPHONE, devtools.recording(tmp_path / "caller.wav"))
    async with AsyncExitStack() as stack:
        server, browser = await asyncio.gather(
            stack.enter_async_context(served(tmp_path, flux="local", agent="receptionist.py")),
            stack.enter_async_context(devtools.browser(tmp_path, *flags)),
        )
        page = await stack.enter_async_context(browser.page())
        await page.microphone()
        await page.goto(f"{server.url}/")
        await page.click("#talk")
        await page.until(f"/Wednesday/u.test({heard}) && /heard \\d+ ms/u.test({heard})", 40)
        lines = await page.do(LINES)
        assert likeness("when are you open on wednesday", lines[1][1]) > 0.6
        for shown in ("reaction", "decided"):
            assert await page.do(f"/^\\d+ ms$/u.test({shown}.textContent)")
        for scheme in ("light", "dark"):
            await page.scheme(scheme, 1280, 800)
            keep(tmp_path / f"{scheme}.png", await page.picture())
        assert page.complaints == []
        server.tell(signal.SIGKILL)
        assert await page.until(PROBLEM) == "The connection was lost."
        assert await page.do(f"[{STATE}, talk.textContent]") == ["over", "Talk again"]


async def test_T16_to_talk_over_it_silences_the_loudspeaker_at_once(page: Page) -> None:
    """From the clear to silence: the fade of 5 ms, and no more than a few buffers.

    What was heard is known from the page's own clock: no more than there was time for.
    """
    loop = asyncio.get_running_loop()
    async with reception(Clinic) as server:
        begun = loop.time()
        await talk(page, server)
        ears = await server.ears()
        await page.until("!!document.querySelector('#lines .rest')?.previousSibling.textContent")
        spoken, cleared = loop.time() - begun, time.time()
        ears.start("wait a moment please")
        await page.until("!!document.querySelector('#lines .cut')")
        ears.end("wait a moment please")
        await page.until("document.querySelectorAll('#lines .agent').length === 2")
        silent = float((await page.do("silent.textContent")).removesuffix(" ms"))
        assert 0 < silent < 150
        marked = "performance.timeOrigin + performance.getEntriesByName('silent')[0].startTime"
        assert 0 < await page.do(marked) - 1000 * cleared < 1000
        shown = "document.querySelector('#lines .cut .words').firstChild.textContent.trim()"
        cut = await page.do(shown)
        agent = await server.agent()
        assert agent.said[0] == f"agent: {cut} ..."
        assert Clinic.greeting.startswith(cut)
        assert server.tts.seconds(cut) < spoken
        assert await page.do("interruptions.textContent") == "1"


async def test_a_draft_is_seen_as_it_is_written_and_discarded(page: Page, tmp_path: Path) -> None:
    words = "Of course, let me see what there is on that day, and I will tell you at once."
    llm = ScriptedLLM({"*": words}, first_token=0.05, per_token=0.1)
    async with reception(llm=llm, tts=ScriptedTTS(format=VOICE, first_byte=0.2)) as server:
        await talk(page, server)
        ears = await server.ears()
        await page.until(f"{STATE} === 'listening'")
        ears.start("I would like")
        ears.maybe_end("I would like an appointment")
        await page.until(
            "document.querySelector('#lines .draft .words')?.textContent.includes('let me see')"
        )
        await page.scheme("light", 1280, 800)
        keep(tmp_path / "draft.png", await page.picture())
        ears.resume("I would like an appointment on")
        await page.until("!!document.querySelector('#lines .dropped')")
        assert "draft discarded: you went on" in await page.do("lines.textContent")
        ears.maybe_end("I would like an appointment on Friday")
        await page.until("document.querySelectorAll('#lines .draft').length === 1")
        await asyncio.sleep(0.3)
        ears.end("I would like an appointment on Friday")
        await page.until("/heard \\d+ ms after you were done/u.test(lines.textContent)")
        await page.until("document.querySelector('#lines .speaking .words > span').textContent")
        await asyncio.sleep(0.3)
        keep(tmp_path / "spoken.png", await page.picture())
        assert await page.do("drafts.textContent") == "1 of 2"
        classes = [line[0].split()[0] for line in await page.do(LINES)]
        assert classes == ["agent", "caller", "agent", "agent"]


# ------------------------------------------------------------------------- keys and silence


async def test_a_mute_sends_silence(page: Page) -> None:
    async with reception() as server:
        await talk(page, server)
        ears = await server.ears()
        await until(lambda: any(loud(data) for _, data in ears.fed))
        assert {len(data) for _, data in ears.fed} == {640}
        await page.click("#mute")
        assert await page.do("mute.getAttribute('aria-pressed')") == "true"
        await until(lambda: not any(map(any, (data for _, data in ears.fed[-5:]))))
        count = len(ears.fed)
        await until(lambda: len(ears.fed) > count + 50)  # a beep would have come
        assert not any(map(any, (data for _, data in ears.fed[count:])))
        await page.click("#mute")
        await until(lambda: loud(ears.fed[-1][1]))


async def test_no_more_than_a_keyboard_is_needed(page: Page) -> None:
    async with reception() as server:
        await page.goto(f"{server.url}/")
        await page.press("Tab")
        assert await page.focused() == ("link", "Skip to the conversation")
        await page.do("talk.focus()")
        await page.press("Enter")
        await page.until(f"{STATE} === 'listening'")
        assert await page.focused() == ("button", "End")
        ears = await server.ears()
        await page.press("Tab")
        assert await page.focused() == ("button", "Mute")
        await page.press(" ")
        await page.until("mute.getAttribute('aria-pressed') === 'true'")
        await page.press("Tab")
        assert await page.focused() == ("textbox", "Write instead of speaking")
        await page.type("when do you <b>open</b>?")
        await page.press("Enter")
        await page.until("/written/u.test(lines.textContent) && /Good/u.test(lines.textContent)")
        agent = await server.agent()
        await until(lambda: agent.said[-2:] == ["caller: when do you <b>open</b>?", "agent: Good."])
        assert "when do you <b>open</b>?" in str(await page.do(LINES))
        reached = []
        for _ in range(3):
            await page.press("Tab")
            reached.append(await page.focused())
        assert reached[0] == ("button", "Send")
        assert reached[1][1].startswith("Microphone")
        assert reached[2][1].startswith("Loudspeaker")
        await page.do("talk.focus()")
        await page.press(" ")
        await page.until(f"{STATE} === 'over'")
        await server.all_over()
        assert agent.reasons == ["caller hung up"]
        assert ears.closed


async def test_what_is_read_out(page: Page) -> None:
    async with reception() as server:
        await talk(page, server)
        await server.ears()
        assert await page.named("heading") == [
            "Receptionist", "Timeline", "Conversation", "Latency of the last turn", "This call",
        ]  # fmt: skip
        assert await page.named("log") == ["Conversation"]
        assert await page.named("meter") == ["How loud you are"]
        [timeline] = await page.named("image")
        assert "The conversation below says the same in words." in timeline
        assert await page.do("[document.documentElement.lang, said.textContent]") == [
            "en", "Connected.",
        ]  # fmt: skip
        await page.click("#aloud")
        await page.click("#words")
        await page.type("hello")
        await page.press("Enter")
        await page.until("said.textContent === 'Agent: Good.'")


async def test_the_agent_hangs_up_and_one_can_talk_again(page: Page) -> None:
    async with reception() as server:
        await talk(page, server)
        await page.until(f"{STATE} === 'listening'")
        (await server.agent()).session.hang_up("silence")
        await page.until("state.textContent === 'The agent has hung up: it heard nothing of you'")
        assert await page.do("said.textContent === state.textContent && problem.hidden")
        await server.all_over()
        await page.click("#talk")
        await page.until(f"{STATE} === 'listening'")
        assert len(server.agents) == 2


async def test_devices_can_be_chosen_during_the_call(page: Page) -> None:
    async with reception() as server:
        await talk(page, server)
        ears = await server.ears()
        for name in ("microphone", "loudspeaker"):
            await page.until(f"{name}.options.length > 2")
            await page.do(
                f"{name}.value = {name}.options[2].value; {name}.dispatchEvent(new Event('change'))"
            )
        count = len(ears.fed)
        await until(lambda: any(loud(data) for _, data in ears.fed[count:]))
        assert await page.do("problem.hidden")


# ------------------------------------------------------------------------ what can be missing


async def test_a_denied_microphone_is_said_and_one_can_write(desk: Browser) -> None:
    async with reception() as server, desk.page() as page:
        await page.microphone("denied")
        await page.goto(f"{server.url}/")
        await page.click("#talk")
        assert await page.until(PROBLEM) == (
            "The browser does not let this page use the microphone. Allow it beside the address,"
            " then talk again.Write instead"
        )
        assert await page.named("alert") == [""]
        assert server.agents == []
        await page.click("#problem button")
        await page.until(f"{STATE} === 'listening'")
        ears = await server.ears()
        await page.click("#words")
        await page.type("hello")
        await page.press("Enter")
        await page.until("/Good/u.test(lines.textContent)")
        assert ears.fed
        assert not any(map(any, (data for _, data in ears.fed)))


async def test_a_machine_without_a_microphone_is_said(browser: Browser) -> None:
    async with reception() as server, browser.page() as page:
        await page.microphone()
        await page.goto(f"{server.url}/")
        await page.click("#talk")
        assert (await page.until(PROBLEM)).startswith("There is no microphone.")


async def test_a_page_that_is_not_secure_is_said_at_once(desk: Browser) -> None:
    async with reception(web="open") as server, desk.page() as page:
        await page.goto(f"http://insecure.test:{server.port}/")
        assert await page.until(PROBLEM) == (
            "Browsers give the microphone to secure pages only: open this page over https, or on"
            " localhost."
        )
        assert await page.do("talk.disabled")


async def test_full_and_draining_are_told_apart(desk: Browser) -> None:
    async with reception(rules=Rules(most_calls=1)) as server, desk.page() as page:
        await page.microphone()
        server.desk.state.begin_call("twilio", "CA1", 1)
        await page.goto(f"{server.url}/")
        await page.click("#talk")
        assert await page.until(PROBLEM) == "All lines are busy. Try again in a moment."
        assert await page.do(STATE) == "idle"
        server.desk.state.end_call("twilio", "CA1")
        server.desk.state.drain()
        await page.click("#talk")
        assert await page.until(f"/about to stop/u.test(problem.textContent) && {PROBLEM}") == (
            "The server is about to stop and takes no new conversations."
        )


async def test_a_server_that_is_gone_is_said(desk: Browser) -> None:
    async with desk.page() as page:
        await page.microphone()
        async with reception() as server:
            await page.goto(f"{server.url}/")
        await page.click("#talk")
        assert await page.until(PROBLEM) == "The server cannot be reached. Is it running?"


async def test_a_socket_that_is_refused_on_its_way_is_said(desk: Browser) -> None:
    lost = """window.WebSocket = class extends WebSocket {
        constructor(url) { super(String(url).replace('/web/media', '/web/nowhere')); }
    }"""
    async with reception() as server, desk.page() as page:
        await page.microphone()
        await page.send("Page.addScriptToEvaluateOnNewDocument", source=lost)
        await page.goto(f"{server.url}/")
        await page.click("#talk")
        assert await page.until(PROBLEM) == (
            "The server refused the connection. Something between here and there may not let"
            " WebSockets pass."
        )
        assert server.agents == []


async def test_another_sites_page_and_a_used_token_are_refused(desk: Browser) -> None:
    ask = "fetch('%s/web/token', {method: 'POST', mode: '%s'}).then((it) => it.%s, () => 'refused')"
    opened = """new Promise((resolve) => {
        const socket = new WebSocket('ws://%s/web/media');
        socket.onopen = () => socket.send(JSON.stringify({type: 'start', version: 1, token: '%s'}));
        socket.onmessage = ({ data }) => typeof data === 'string' && resolve(JSON.parse(data).why);
        socket.onerror = () => resolve('refused');
        setTimeout(() => resolve('open'), 1000);
    })"""
    async with reception(web="open") as server, desk.page() as page:
        await page.goto(f"http://localhost:{server.port}/")
        assert await page.do(ask % (server.url, "cors", "status")) == "refused"
        assert await page.do(opened % (server.host, "x")) == "refused"
        assert server.agents == []
        own = f"http://localhost:{server.port}"
        token = await page.do(ask % (own, "same-origin", "json()"))
        host = f"localhost:{server.port}"
        assert await page.do(opened % (host, token["token"])) in (None, "open")
        assert await page.do(opened % (host, token["token"])) == "token"
        assert len(server.agents) == 1


# ------------------------------------------------------------------------ how it looks, sounds


async def test_it_fits_the_window(page: Page) -> None:
    async with reception() as server:
        await page.goto(f"{server.url}/")
        for width, height in ((1280, 800), (820, 1100), (390, 844)):
            await page.scheme("dark", width, height)
            assert await page.do("document.documentElement.scrollWidth <= innerWidth")
            assert await page.do("talk.getBoundingClientRect().bottom") <= height
        assert await page.do("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 26)"
        await page.do("new Promise(requestAnimationFrame)")
        data = "timeline.getContext('2d').getImageData(0, 0, 300, 200).data"
        assert await page.do(f"{data}.some((one) => one > 0)")


RESAMPLED = """import('/web/resample.js').then(({ Resampler }) => {
    const run = (pitch, piece) => {
        const made = [], it = new Resampler(RATE, 16000);
        const all = Float32Array.from({ length: RATE }, (_, n) =>
            Math.sin(2 * Math.PI * pitch * n / RATE));
        for (let at = 0; at < all.length; at += piece) {
            it.push(all.subarray(at, at + piece), (sample) => made.push(sample));
        }
        return made;
    };
    const low = run(1000, 77);
    return { low, same: run(1000, 128).every((sample, n) => sample === low[n]),
             high: run(11000, 128) };
})"""


async def test_the_microphone_is_converted_with_one_delay_and_without_false_tones(
    page: Page,
) -> None:
    """Whatever the size of the pieces it comes in: a constant delay, nothing folded over."""
    async with reception() as server:
        await page.goto(f"{server.url}/")
        for rate in (16000, 44100, 48000):
            found = await page.do(RESAMPLED.replace("RATE", str(rate)))
            assert found["same"]
            low = found["low"]
            assert len(low) == pytest.approx(16000, abs=40)
            assert max(low[2000:6000]) == pytest.approx(1.0, abs=0.01)
            phases = [phase(low[at : at + 1600]) for at in (1600, 8000, 12800)]
            assert phases == pytest.approx([phases[0]] * 3, abs=1e-3)
            if rate > 22000:
                assert max(map(abs, found["high"][2000:6000])) < 0.003  # 50 dB down


def phase(samples: list[float]) -> float:
    """Of a tone of 1 kHz at 16 kHz, in turns."""
    turns = [2 * math.pi * n / 16 for n in range(len(samples))]
    sine = sum(sample * math.sin(at) for sample, at in zip(samples, turns, strict=True))
    cosine = sum(sample * math.cos(at) for sample, at in zip(samples, turns, strict=True))
    return math.atan2(cosine, sine) / (2 * math.pi)
