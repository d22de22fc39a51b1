"""The report of a call in a real browser: seen, heard, clicked, typed into, printed."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.policy import Policy
from agentkit.observe import LiveView, Record, read_record, redact, report_html
from agentkit.observe.record import Entry
from agentkit.testing.clock import run_virtual
from tests.browser.conftest import Open
from tests.devtools import Page
from tests.observe.conftest import hold
from tests.observe.reports import recording
from tests.observe.test_report_page import hostile_record

pytestmark = pytest.mark.asyncio(loop_scope="session")

PLAYING = "!audio.paused && audio.currentTime"
SLOWLY = "audio.playbackRate = 0.1"
"""So that a busy machine is in time for what is heard."""
FOCUS = "document.activeElement.id || document.activeElement.textContent.trim()"


@pytest.fixture(scope="session")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    path = tmp_path_factory.mktemp("call") / "record.jsonl"
    run_virtual(hold(path, LiveView(io.StringIO(), tty=False)))
    return read_record(path)


@pytest.fixture(scope="session")
def heard(record: Record, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a report with sound."""
    folder = tmp_path_factory.mktemp("heard")
    return written(folder, report_html(record, recording(folder / "call.wav", 13)))


@pytest.fixture(scope="session")
def silent(record: Record, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of one without."""
    return written(tmp_path_factory.mktemp("silent"), report_html(record))


def written(folder: Path, page: str) -> str:
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    return path.as_uri()


async def tab(page: Page) -> str:
    await page.press("Tab")
    return str(await page.do(FOCUS))


# -------------------------------------------------------------------------- seen and heard


async def test_it_opens_by_itself(visit: Open, heard: str) -> None:
    page = await visit(heard)
    assert await page.do("document.title") == "A call of 11 seconds, " + await page.do(
        "document.getElementById('started').textContent"
    )
    kinds = [url.partition(":")[0] for url in page.requests]
    assert sorted(set(kinds)) == ["blob", "file"]
    assert kinds.count("file") == 1
    assert await page.do("document.querySelectorAll('#moments li').length") >= 8


async def test_a_moment_that_is_clicked_is_heard(visit: Open, heard: str) -> None:
    page = await visit(heard)
    await page.until("audio.readyState > 2")
    assert await page.do("audio.duration") == pytest.approx(13)
    row = "#moments li:nth-last-child(2)"
    at = float(await page.do(f"document.querySelector('{row} .at').dataset.at"))
    assert at > 3
    await page.do(SLOWLY)
    await page.click(f"{row} .at")
    assert at <= await page.until(PLAYING) < at + 1
    await page.until(f"audio.currentTime > {at} + 0.05")
    await page.until("play.textContent === 'Pause'")
    await page.until(f"document.querySelector('{row}').getAttribute('aria-current') === 'true'")
    await page.click("#play")
    await page.until("audio.paused && play.textContent === 'Play'")
    assert await page.do("Number(track.getAttribute('aria-valuenow'))") > at


async def test_a_place_on_the_time_axis_that_is_clicked_is_heard(visit: Open, heard: str) -> None:
    page = await visit(heard)
    await page.until("audio.readyState > 2")
    await page.do(SLOWLY)
    await page.click("#track", x=0.5)
    assert await page.until(PLAYING) == pytest.approx(6.5, abs=1)
    await page.click("#in")
    await page.click("#in")
    await page.until("scroller.scrollLeft > 0")  # it follows what is heard


async def test_one_voice_can_be_chosen_and_the_speed(visit: Open, heard: str) -> None:
    page = await visit(heard)
    for voice in ("caller", "agent", "both"):
        await page.do(f"voices.value = '{voice}', voices.dispatchEvent(new Event('change'))")
    await page.do("speed.value = '2', speed.dispatchEvent(new Event('change'))")
    await page.click("#play")
    await page.until("audio.currentTime > 0.5")
    assert await page.do("audio.playbackRate") == 2


async def test_without_sound_it_still_shows_where(visit: Open, silent: str) -> None:
    page = await visit(silent)
    assert await page.do("getComputedStyle(play).display") == "none"
    await page.click("#moments li:nth-last-child(2) .at")
    at = await page.do("document.querySelector('#moments li:nth-last-child(2) .at').dataset.at")
    assert await page.do("Number(track.getAttribute('aria-valuenow'))") == pytest.approx(
        float(at), abs=0.06
    )
    assert (await page.do("clock.textContent")).startswith("0:")
    assert not await page.do("audio.src")


async def test_drafts_can_be_left_aside(visit: Open, silent: str) -> None:
    page = await visit(silent)
    shown = "[...document.querySelectorAll('#moments li')].filter((one) => one.offsetHeight).length"
    before = await page.do(shown)
    await page.click("#speculation")
    assert await page.do(shown) == before - 4  # two drafts, two holds


async def test_what_was_not_heard_is_dim_and_said_to_be(visit: Open, silent: str) -> None:
    page = await visit(silent)
    words = await page.do(
        "[...document.querySelectorAll('#moments .words')]"
        ".find((one) => one.textContent.includes('cut off')).innerHTML"
    )
    assert "Not heard: " in words
    dim, plain = await page.do(
        "['.lost', '.text'].map((one) => getComputedStyle(document.querySelector("
        "'#moments .words ' + one)).color)"
    )
    assert dim != plain


# ------------------------------------------------------------------------------- the log


async def test_the_log_is_filtered(visit: Open, silent: str) -> None:
    page = await visit(silent)
    rows = (
        "[...document.querySelectorAll('#rows tr')].map((row) => row.cells[2].textContent.trim())"
    )
    names = await page.do(rows)
    assert "CallStarted" in names
    assert "PlayoutReached" not in names
    await page.click("#ticks")
    assert "PlayoutReached" in await page.do(rows)
    await page.click("#find")
    await page.type("discard")
    assert set(await page.do(rows)) == {"→ Discard"}
    assert (await page.do("count.textContent")).startswith("2 of ")
    await page.click("#groups input[value=reply]")
    assert await page.do(rows) == []
    await page.do("filter.reset(), filter.dispatchEvent(new Event('input'))")
    await page.click("#groups input[value=reply]")
    assert "TurnEnded" in await page.do(rows)
    assert "→ Commit" not in await page.do(rows)
    await page.click("#rows .at")


async def test_a_long_log_is_drawn_a_part_at_a_time(visit: Open, tmp_path: Path) -> None:
    entries: list[Entry] = []
    for number in range(2000):
        text = ev.TurnUpdated(connection=0, index=number, text=f"word {number}")
        entries.append((0.7 * number, text, (cmd.TurnCommitted(number, f"word {number}"),)))
    record = Record("", Policy(), tuple(entries), "over")
    page = await visit(written(tmp_path, report_html(record)))
    rows = "document.querySelectorAll('#rows tr').length"
    assert await page.do(rows) == 400
    await page.click("#more")
    assert await page.do(rows) == 800
    await page.click("#find")
    await page.type("word 1999")
    assert await page.do(rows) == 2
    assert await page.do("more.hidden")
    # The time axis is longer than any canvas may be; what is drawn is as wide as what is seen.
    await page.do("for (let n = 0; n < 8; n++) document.getElementById('in').click()")
    assert await page.do("track.offsetWidth") > 500_000
    assert await page.do("wave.width") < 3000


# ------------------------------------------------------------------- keyboard, screen reader


async def test_the_keyboard_reaches_all_in_order(visit: Open, heard: str) -> None:
    page = await visit(heard)
    assert await tab(page) == "Skip to the conversation"
    assert await page.do("document.activeElement.getBoundingClientRect().left >= 0")
    order = [await tab(page) for _ in range(13)]
    sections = ["Timeline", "Conversation", "Latency", "Drafts", "Trouble", "Log"]
    assert order == ["play", "voices", "speed", *sections, "out", "fit", "in", "track"]
    ring = "getComputedStyle(document.activeElement).outlineStyle"
    assert await page.do(ring) == "solid"
    assert await tab(page) == "speculation"
    assert (await tab(page)).startswith("0:0")  # the first moment


async def test_the_skip_link_leads_past_the_player(visit: Open, heard: str) -> None:
    page = await visit(heard)
    await tab(page)
    await page.press("Enter")
    await page.until("location.hash === '#conversation'")
    assert await tab(page) == "speculation"


async def test_the_time_axis_is_a_slider(visit: Open, heard: str) -> None:
    page = await visit(heard)
    await page.until("audio.readyState > 2")
    await page.do("track.focus()")
    now = "[Number(track.getAttribute('aria-valuenow')), track.getAttribute('aria-valuetext')]"
    presses = (("ArrowRight", 1), ("ArrowUp", 2), ("ArrowLeft", 1), ("End", 13), ("Home", 0))
    for key, at in presses:
        await page.press(key)
        assert await page.do(now) == [at, f"{at}.0 seconds"]
    await page.press("PageDown")
    first, _ = await page.do(now)
    assert 0 < first < 3
    await page.press("PageDown")
    assert (await page.do(now))[0] > first
    await page.press("PageUp")
    assert (await page.do(now))[0] == first
    assert await page.do("audio.currentTime") == pytest.approx(first, abs=0.06)
    await page.press("Enter")
    assert await page.until(PLAYING) >= first - 0.06
    await page.press(" ")
    await page.until("audio.paused")


async def test_a_screen_reader_finds_its_way(visit: Open, heard: str) -> None:
    page = await visit(heard)
    await page.send("Accessibility.enable")
    nodes = [
        node
        for node in (await page.send("Accessibility.getFullAXTree"))["nodes"]
        if not node["ignored"]
    ]

    def named(role: str) -> list[str]:
        return [
            node.get("name", {}).get("value", "")
            for node in nodes
            if node["role"]["value"] == role
        ]  # fmt: skip

    for landmark in ("banner", "main", "contentinfo"):
        assert len(named(landmark)) == 1, landmark
    assert named("navigation") == ["Sections"]
    assert named("search") == ["Filter the log"]
    assert named("slider") == ["Position in the call"]
    assert set(named("heading")) >= {"Timeline", "Conversation", "Latency", "Log"}
    for role in ("button", "link", "checkbox", "combobox", "searchbox", "region", "columnheader"):
        names = named(role)
        assert names, role
        assert all(names), role
    assert any(name.startswith("Play Caller at ") for name in named("button"))


# ------------------------------------------------------------------------ light, dark, small

CONTRASTS = """
(() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const linear = (value) =>
    (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const below = (node) => {
    const layers = [];
    for (let one = node; one; one = one.parentElement) {
      const [r, g, b, a = 1] = channels(getComputedStyle(one).backgroundColor);
      layers.push([r, g, b, a]);
      if (a === 1) break;
    }
    return layers.reverse().reduce((under, [r, g, b, a]) =>
      [r, g, b].map((value, at) => value * a + under[at] * (1 - a)), [255, 255, 255]);
  };
  const found = {};
  for (const node of document.querySelectorAll('body *')) {
    const text = [...node.childNodes].some((one) => one.nodeType === 3 && one.data.trim());
    if (!text || !node.offsetWidth || ['SCRIPT', 'OPTION'].includes(node.tagName)) continue;
    const ink = light(channels(getComputedStyle(node).color)), paper = light(below(node));
    const contrast = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    const name = `${node.tagName}.${node.className} ${node.textContent.slice(0, 20)}`;
    if (contrast < 4.5) found[name] = contrast;
  }
  return found;
})()
"""


# Whether the waves on the time axis have the accent of this scheme.
PAINTED = """
(() => {
  const style = getComputedStyle(document.documentElement);
  const wanted = style.getPropertyValue('--accent').match(/[0-9a-f]{2}/g);
  const copy = new OffscreenCanvas(wave.width, wave.height);
  const pen = copy.getContext('2d', {willReadFrequently: true});
  pen.drawImage(wave, 0, 0);
  const { data } = pen.getImageData(0, 0, wave.width, wave.height);
  for (let at = 0; at < data.length; at += 4) {
    if (wanted.every((one, n) => data[at + n] === parseInt(one, 16)) && data[at + 3] === 255) {
      return true;
    }
  }
  return false;
})()
"""


async def test_light_and_dark_can_be_read(visit: Open, heard: str, tmp_path: Path) -> None:
    page = await visit(heard)
    papers = []
    for scheme in ("light", "dark"):
        await page.scheme(scheme)
        papers.append(await page.do("getComputedStyle(document.body).backgroundColor"))
        assert await page.do(CONTRASTS) == {}
        await page.until(PAINTED)
        (tmp_path / f"{scheme}.png").write_bytes(await page.picture())
    assert papers[0] != papers[1]
    assert (tmp_path / "light.png").read_bytes() != (tmp_path / "dark.png").read_bytes()


async def test_a_small_screen_scrolls_one_way_only(visit: Open, heard: str) -> None:
    page = await visit(heard)
    for width in (320, 420, 800):
        await page.scheme("light", width=width)
        assert await page.do("document.documentElement.scrollWidth") <= width


async def test_it_prints_without_its_controls(visit: Open, heard: str) -> None:
    page = await visit(heard)
    await page.send("Emulation.setEmulatedMedia", media="print")
    for hidden in ("bar", "log", "head"):
        style = f"getComputedStyle(document.getElementById('{hidden}'))"
        assert await page.do(f"{style}.display") == "none"
    assert (await page.pdf()).startswith(b"%PDF")


# ---------------------------------------------------------------------- what callers may say


async def test_hostile_words_are_words(visit: Open, tmp_path: Path) -> None:
    page = await visit(written(tmp_path, report_html(hostile_record())))
    assert await page.do("document.scripts.length") == 3
    assert await page.do("document.querySelectorAll('script script, li script').length") == 0
    shown: list[Any] = await page.do(
        "[...document.querySelectorAll('#moments .text, #moments q')].map((one) => one.textContent)"
    )
    assert len(shown) >= 4
    assert all("<script>alert(1)</script>" in text for text in shown)
    assert await page.do("document.body.innerText.includes('{{data}} $&')")


async def test_a_script_that_was_slipped_in_would_not_run(visit: Open, tmp_path: Path) -> None:
    """The second fence: what the page says of itself to the browser."""
    page = await visit(written(tmp_path, report_html(hostile_record())))
    await page.do(
        "(() => { const one = document.createElement('script'); one.textContent = 'window.ran = 1';"
        "document.body.append(one); document.body.insertAdjacentHTML('beforeend',"
        "'<img src=x onerror=\"window.ran = 2\">'); })()"
    )
    assert await page.do("window.ran ?? null") is None
    assert len(page.complaints) >= 2
    assert all("Content Security Policy" in text for text in page.complaints)
    page.complaints.clear()


async def test_a_redacted_record_looks_the_same(
    visit: Open, record: Record, silent: str, tmp_path: Path
) -> None:
    page = await visit(silent)
    hidden = await visit(written(tmp_path, report_html(redact(record))))
    for counted in ("#moments li", "#rows tr", "#items > *", "#stages tr", "#ledger dd"):
        script = f"document.querySelectorAll({json.dumps(counted)}).length"
        assert await hidden.do(script) == await page.do(script)
    assert "certainly" not in (await hidden.do("document.body.innerText")).lower()
