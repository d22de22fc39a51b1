"""`agentkit call`: a carrier is asked to call a number, once the server is known to answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from agentkit.callcontrol import CallControl
from agentkit.cli import main
from agentkit.config import NAMES, Settings
from agentkit.errors import ConfigError
from agentkit.server import dial
from agentkit.testing.carriers import FakeCarrierRest
from agentkit.testing.clock import in_virtual_time
from tests.server.reception import (
    JAMBONZ,
    PLIVO,
    SIGNALWIRE,
    TELNYX,
    TWILIO,
    VONAGE,
    Line,
    Reception,
    control_of,
    serving,
)

_SHORT = {name: short for short, name in NAMES.items()}
TO, CALLER = "+15550002222", "+15550003333"


def known(server: Reception, line: Line, **more: str) -> Settings:
    by_name = {**line.keys, "AGENTKIT_PUBLIC_URL": server.url, "AGENTKIT_PHONE_NUMBER": CALLER}
    return Settings(**{_SHORT[name]: value for name, value in {**by_name, **more}.items()})


@pytest.mark.parametrize(
    "line", [TWILIO, SIGNALWIRE, TELNYX, PLIVO, VONAGE, JAMBONZ], ids=lambda line: line.name
)
def test_a_number_is_called_once_and_the_server_is_asked_what_to_do(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    @in_virtual_time(until=30)
    async def call() -> None:
        async with FakeCarrierRest() as rest, serving() as server:

            def controls(_settings: Settings) -> dict[str, CallControl]:
                return control_of(replace(line, keys={**line.keys, **more}), rest)

            more = {"TELNYX_CONNECTION_ID": "123"} if line is TELNYX else {}
            monkeypatch.setattr(dial, "load_controls", controls)
            found = await dial.place_call(known(server, line), TO)
            assert found
            (asked,) = rest.requests
            assert asked.verb == "dial"
            text = str(dict(asked.fields))
            assert TO[1:] in text
            assert f"{server.url}/{line.name}/voice" in text
            assert f"{server.url}/{line.name}/status" in text

    call()


@in_virtual_time(until=30)
async def test_what_is_missing_is_named_and_nobody_is_called() -> None:
    async with serving() as server:
        for given, carrier, problem in (
            (Settings(), "", "AGENTKIT_PUBLIC_URL"),
            (Settings(public_url=server.url), "", "--from"),
            (Settings(public_url=server.url, phone_number=CALLER), "", "no carrier's keys"),
            (known(server, TWILIO), "nobody", "none of twilio"),
            (known(server, TWILIO), "plivo", "plivo's REST interface"),
            (known(server, TWILIO, **PLIVO.keys), "", "several"),
        ):
            with pytest.raises(ConfigError, match=problem):
                await dial.place_call(given, TO, carrier=carrier)


@in_virtual_time(until=30)
async def test_nobody_is_called_while_no_server_answers() -> None:
    async with serving() as server:
        server.desk.state.drain()
        with pytest.raises(ConfigError, match="takes no calls"):
            await dial.place_call(known(server, TWILIO), TO)
    with pytest.raises(ConfigError, match="no server answers"):
        await dial.place_call(known(server, TWILIO), TO)


@pytest.fixture
async def rest() -> AsyncIterator[FakeCarrierRest]:
    async with FakeCarrierRest() as server:
        yield server


async def test_the_command_calls_and_says_the_id(
    rest: FakeCarrierRest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    async with serving() as server:
        keys = {**JAMBONZ.keys, "JAMBONZ_API_URL": rest.url}
        for name, value in {**keys, "AGENTKIT_PUBLIC_URL": server.url}.items():
            monkeypatch.setenv(name, value)
        assert await asyncio.to_thread(main, ["call", TO, "--from", CALLER]) == 0
        (asked,) = rest.requests
        assert (asked.carrier, asked.verb) == ("jambonz", "dial")
        assert "the carrier's id of the call is" in capsys.readouterr().out
        rest.fail(500)
        assert await asyncio.to_thread(main, ["call", TO, "--from", CALLER]) == 1
        said = capsys.readouterr()
        assert TO[1:] not in said.out + said.err
        assert len(rest.requests) == 2  # never tried twice
