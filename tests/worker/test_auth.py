"""Who is let in: with the secret, with a signed token, and from which pages."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time

import httpx2 as httpx
import pytest
from websockets.asyncio.client import connect

from tests.worker.conftest import Start
from tests.worker.worker import SECRET, Worker
from tests.worker.workers_ai import WorkersAI

pytestmark = pytest.mark.asyncio(loop_scope="session")

BEARER = {"Authorization": f"Bearer {SECRET}"}
ASKED = "/flux?encoding=linear16&sample_rate=16000"


def ask(
    worker: Worker, path: str, *, method: str = "GET", headers: dict[str, str] | None = None
) -> httpx.Response:
    """Asks without a socket, as a page does that wants to know why its socket was refused."""
    return httpx.request(method, worker.http(path), headers=headers or {}, trust_env=False)


def sign(expires: int, secret: str = SECRET, purpose: str = "agentkit flux token") -> str:
    digest = hmac.digest(secret.encode(), f"{purpose} {expires}".encode(), hashlib.sha256)
    return f"{expires}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


def in_a_minute() -> int:
    return int(time.time()) + 60


def altered(token: str) -> str:
    """The same token with another first letter of its signature."""
    expires, signature = token.split(".")
    return f"{expires}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"


async def test_the_secret_opens_a_socket(worker: Worker, workers_ai: WorkersAI) -> None:
    async with connect(worker.ws(), additional_headers=BEARER, proxy=None):
        assert [asked.model for asked in workers_ai.asked] == ["@cf/deepgram/flux"]


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (None, "Send Authorization: Bearer and the token."),
        ("Bearer wrong", "The token is wrong."),
        (f"Bearer {SECRET}x", "The token is wrong."),
        (f"Bearer {SECRET[:-1]}", "The token is wrong."),
        ("Bearer", "The Authorization header has to be: Bearer and the token."),
        (f"Token {SECRET}", "The Authorization header has to be: Bearer and the token."),
        (SECRET, "The Authorization header has to be: Bearer and the token."),
    ],
)
async def test_without_the_secret_nobody_comes_in(
    worker: Worker, workers_ai: WorkersAI, header: str | None, said: str
) -> None:
    headers = {} if header is None else {"Authorization": header}
    for method, path in (("GET", ASKED), ("POST", "/token")):
        answer = ask(worker, path, method=method, headers=headers)
        assert (answer.status_code, answer.json()) == (401, {"error": said})
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert SECRET not in answer.text
    assert workers_ai.asked == []


async def test_a_signed_token_opens_a_socket(worker: Worker, workers_ai: WorkersAI) -> None:
    answer = ask(worker, "/token", method="POST", headers=BEARER)
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    given = answer.json()
    assert given["expires_in"] == 60
    expires = int(given["token"].split(".")[0])
    assert 55 <= expires - time.time() <= 60
    assert given["token"] == sign(expires)
    async with connect(f"{worker.ws()}&token={given['token']}", proxy=None):
        assert workers_ai.asked[-1].inputs == {"encoding": "linear16", "sample_rate": "16000"}


@pytest.mark.parametrize(
    ("token", "said"),
    [
        (altered(sign(in_a_minute())), "The signed token is wrong."),
        (sign(in_a_minute(), secret="another-secret-of-somebody"), "The signed token is wrong."),
        (sign(in_a_minute(), purpose="another purpose"), "The signed token is wrong."),
        (f"{in_a_minute() + 1}.{sign(in_a_minute()).split('.')[1]}", "The signed token is wrong."),
        (sign(int(time.time()) - 1), "The signed token has expired: POST /token gives another."),
        (altered(sign(int(time.time()) - 1)), "The signed token is wrong."),
        (SECRET, "The signed token is malformed: POST /token gives one."),
        ("", "The signed token is malformed: POST /token gives one."),
        (f"{sign(in_a_minute())}A", "The signed token is malformed: POST /token gives one."),
        (f"{sign(in_a_minute())}&token=x", "Give one token."),
    ],
    ids=["altered", "other secret", "other purpose", "other time", "expired", "expired and altered",
         "the secret itself", "empty", "longer", "two"],
)  # fmt: skip
async def test_a_signed_token_that_is_not_right_opens_nothing(
    worker: Worker, workers_ai: WorkersAI, token: str, said: str
) -> None:
    answer = ask(worker, f"{ASKED}&token={token}")
    assert (answer.status_code, answer.json()) == (401, {"error": said})
    assert workers_ai.asked == []


async def test_a_signed_token_buys_no_other(worker: Worker) -> None:
    signed = sign(in_a_minute())
    assert ask(worker, f"/token?token={signed}", method="POST").status_code == 401
    headers = {"Authorization": f"Bearer {signed}"}
    assert ask(worker, "/token", method="POST", headers=headers).status_code == 401


async def test_a_wrong_header_is_not_made_good_by_a_signed_token(worker: Worker) -> None:
    headers = {"Authorization": "Bearer wrong"}
    assert ask(worker, f"{ASKED}&token={sign(in_a_minute())}", headers=headers).status_code == 401


@pytest.mark.parametrize("settings", [{}, {"FLUX_TOKEN": ""}, {"FLUX_TOKEN": "short"}])
async def test_without_a_secret_worth_the_name_the_worker_serves_nobody(
    start: Start, settings: dict[str, str]
) -> None:
    with start(**settings) as worker:
        for header in ("", "Bearer", "Bearer short", "Bearer undefined"):
            answer = ask(worker, ASKED, headers={"Authorization": header})
            assert answer.status_code == 503
            assert "npx wrangler secret put FLUX_TOKEN" in answer.json()["error"]
        empty = sign(in_a_minute(), secret=settings.get("FLUX_TOKEN") or "undefined")
        assert ask(worker, f"{ASKED}&token={empty}").status_code == 503


async def test_a_token_without_the_secret_is_for_this_machine_and_has_to_be_asked_for(
    start: Start, worker: Worker
) -> None:
    with start(FLUX_TOKEN=SECRET, DEV_TOKENS="true") as developing:
        assert ask(developing, "/token", method="POST").status_code == 200
        assert ask(developing, ASKED).status_code == 401
        elsewhere = {"Host": "agentkit-flux.example.workers.dev"}
        assert ask(developing, "/token", method="POST", headers=elsewhere).status_code == 401
        other_site = {"Origin": "https://evil.test"}
        assert ask(developing, "/token", method="POST", headers=other_site).status_code == 403
    assert ask(worker, "/token", method="POST").status_code == 401


async def test_pages_of_other_sites_need_to_be_allowed(worker: Worker) -> None:
    for origin in (
        "https://evil.test",
        "https://one",
        "https://one.test.evil.test",
        "http://one.test",
        "null",
    ):
        for method, path in (("GET", ASKED), ("POST", "/token"), ("OPTIONS", "/token")):
            answer = ask(worker, path, method=method, headers={**BEARER, "Origin": origin})
            assert answer.status_code == 403
            assert "ALLOWED_ORIGINS" in answer.json()["error"]
            assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize("origin", ["https://one.test", "https://two.test", "its own"])
async def test_pages_of_allowed_sites_can_read_the_answers(worker: Worker, origin: str) -> None:
    if origin == "its own":
        origin = worker.http("")
    for headers, status in (({}, 401), (BEARER, 200)):
        answer = ask(worker, "/token", method="POST", headers={**headers, "Origin": origin})
        assert answer.status_code == status
        assert answer.headers["Access-Control-Allow-Origin"] == origin
        assert "Origin" in answer.headers["Vary"]
    before = ask(worker, "/token", method="OPTIONS", headers={"Origin": origin})
    assert before.status_code == 204
    assert before.headers["Access-Control-Allow-Origin"] == origin
    assert before.headers["Access-Control-Allow-Headers"] == "Authorization"
    signed = f"{worker.ws()}&token={sign(in_a_minute())}"
    async with connect(signed, origin=origin, proxy=None) as socket:  # type: ignore[arg-type]
        assert socket.response is not None
        assert socket.response.status_code == 101


async def test_no_secret_is_in_the_log(worker: Worker, workers_ai: WorkersAI) -> None:
    signed = sign(in_a_minute())
    async with connect(f"{worker.ws()}&token={signed}", proxy=None) as socket:
        await socket.send('{"type":"CloseStream"}')
        await socket.wait_closed()
    ask(worker, ASKED, headers={"Authorization": "Bearer a-guess-of-somebody"})
    log = worker.output.read_text()
    assert '{"event":"flux_closed","by":"model","code":1005' in log
    for secret in (SECRET, signed, "a-guess-of-somebody", "CloseStream"):
        assert secret not in log


async def test_methods_and_paths_that_there_are_not(worker: Worker) -> None:
    assert ask(worker, "/flux", method="POST").status_code == 405
    refused = ask(worker, "/token")
    assert (refused.status_code, refused.headers["Allow"]) == (405, "POST, OPTIONS")
    assert ask(worker, "/", method="POST").status_code == 405
    for path in ("/v2/listen", "/constructor", "/flux/", "/.env"):
        assert ask(worker, path).status_code == 404


async def test_flux_without_an_upgrade_says_what_it_is(worker: Worker) -> None:
    answer = ask(worker, ASKED, headers=BEARER)
    assert (answer.status_code, answer.json()) == (426, {"error": "Flux is a WebSocket."})
