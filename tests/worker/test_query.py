"""Each input of the model's published schema: what is passed on, and what is refused and how."""

from __future__ import annotations

from urllib.parse import urlencode

import httpx2 as httpx
import pytest
from websockets.asyncio.client import connect

from tests.worker.worker import SECRET, Worker
from tests.worker.workers_ai import WorkersAI

pytestmark = pytest.mark.asyncio(loop_scope="session")

BEARER = {"Authorization": f"Bearer {SECRET}"}
LEAST = {"encoding": "linear16", "sample_rate": "16000"}


async def passed_on(worker: Worker, service: WorkersAI, query: dict[str, object]) -> object:
    async def close_at_once(connection: object) -> None:
        pass

    service.serve = close_at_once
    url = worker.ws(urlencode({**LEAST, **query}, doseq=True))
    async with connect(url, additional_headers=BEARER, proxy=None):
        asked = service.asked[-1]
    assert (asked.model, asked.options) == ("@cf/deepgram/flux", {"websocket": True})
    return asked.inputs


def refused(worker: Worker, query: str) -> tuple[int, str, str]:
    answer = httpx.get(worker.http(f"/flux?{query}"), headers=BEARER, trust_env=False)
    said = answer.json()
    return answer.status_code, said.get("field"), said["error"]


@pytest.mark.parametrize(
    "query",
    [
        {},
        *({"sample_rate": rate} for rate in ("8000", "24000", "44100", "48000")),
        {"eager_eot_threshold": "0.3"},
        {"eager_eot_threshold": "0.7"},
        {"eager_eot_threshold": "0.9", "eot_threshold": "0.9"},
        {"eot_threshold": "0.5"},
        {"eot_threshold": "0.50"},
        {"eot_timeout_ms": "500"},
        {"eot_timeout_ms": "10000"},
        {"keyterm": "Xarelto"},
        {"keyterm": "prior authorization & co, 100%"},
        {"keyterm": "ö" * 100},
        {"mip_opt_out": "true"},
        {"mip_opt_out": "false"},
        {"tag": "clinic:front desk"},
        {
            "eager_eot_threshold": "0.4",
            "eot_threshold": "0.8",
            "eot_timeout_ms": "5000",
            "keyterm": ["Xarelto", "prior authorization"],
            "mip_opt_out": "true",
            "tag": "t" * 128,
        },
        {"keyterm": [f"term {number}" for number in range(100)]},
    ],
    ids=lambda query: ",".join(query) or "least",
)
async def test_inputs_are_passed_on_as_strings(
    worker: Worker, workers_ai: WorkersAI, query: dict[str, object]
) -> None:
    assert await passed_on(worker, workers_ai, query) == {**LEAST, **query}


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        *(("encoding", value, "linear16") for value in ("mulaw", "LINEAR16", "")),
        *(
            ("sample_rate", value, "8000, 16000, 24000, 44100, 48000")
            for value in ("11025", "16000.0", "16k", "", "-16000")
        ),
        *(
            ("eager_eot_threshold", value, "a number from 0.3 to 0.9")
            for value in ("0.29", "0.91", "", "abc", "NaN", "-0.5", "1e-1", "0x1", " 0.5", "٠.٥")
        ),
        *(
            ("eot_threshold", value, "a number from 0.5 to 0.9")
            for value in ("0.49", "0.91", "1.0", "", "Infinity", "0,7")
        ),
        *(
            ("eot_timeout_ms", value, "a whole number from 500 to 10000")
            for value in ("499", "10001", "5000.5", "5e3", "")
        ),
        ("keyterm", "", "text of 1 to 100 characters"),
        ("keyterm", "   ", "text of 1 to 100 characters"),
        ("keyterm", "ö" * 101, "text of 1 to 100 characters"),
        *(("mip_opt_out", value, "true, false") for value in ("True", "1", "")),
        ("tag", "", "text of 1 to 128 characters"),
        ("tag", "t" * 129, "text of 1 to 128 characters"),
    ],
)
async def test_a_bad_value_is_refused_by_field_value_and_what_is_allowed(
    worker: Worker, workers_ai: WorkersAI, field: str, value: str, allowed: str
) -> None:
    query = urlencode({**LEAST, field: value})
    assert refused(worker, query) == (
        400,
        field,
        f'{field}="{value}" is not allowed: allowed is {allowed}',
    )
    assert workers_ai.asked == []


@pytest.mark.parametrize(
    ("query", "field", "said"),
    [
        ("sample_rate=16000", "encoding", "encoding is missing: give encoding=linear16"),
        ("encoding=linear16", "sample_rate", "sample_rate is missing: give sample_rate=16000"),
        (
            f"{urlencode(LEAST)}&eot_threshold=0.7&eot_threshold=0.8",
            "eot_threshold",
            "eot_threshold is given 2 times: at most 1 allowed",
        ),
        (
            f"{urlencode(LEAST)}&tag=a&tag=b",
            "tag",
            "tag is given 2 times: at most 1 allowed",
        ),
        (
            f"{urlencode(LEAST)}{'&keyterm=a' * 101}",
            "keyterm",
            "keyterm is given 101 times: at most 100 allowed",
        ),
        (
            f"{urlencode(LEAST)}&keyterm=fine&keyterm=",
            "keyterm",
            'keyterm="" is not allowed: allowed is text of 1 to 100 characters',
        ),
        (
            f"{urlencode(LEAST)}&eager_eot_threshold=0.8&eot_threshold=0.6",
            "eager_eot_threshold",
            'eager_eot_threshold="0.8" is not allowed: '
            "it must not be above eot_threshold, which is 0.6",
        ),
        (
            f"{urlencode(LEAST)}&eager_eot_threshold=0.71",
            "eager_eot_threshold",
            'eager_eot_threshold="0.71" is not allowed: '
            "it must not be above eot_threshold, which is 0.7 by itself",
        ),
        (
            f"{urlencode(LEAST)}&model=flux-general-en",
            "model",
            "model is no parameter here: Workers AI has one Flux, for English; leave it out",
        ),
        (
            f"{urlencode(LEAST)}&language_hint=de",
            "language_hint",
            "language_hint is no parameter here: "
            "Workers AI has one Flux, for English; leave it out",
        ),
    ],
    ids=lambda value: value if len(value) < 20 else "",
)
async def test_what_does_not_go_together_is_refused(
    worker: Worker, workers_ai: WorkersAI, query: str, field: str, said: str
) -> None:
    assert refused(worker, query) == (400, field, said)
    assert workers_ai.asked == []


@pytest.mark.parametrize("name", ["numerals", "redact", "smart_format", "Tag", "toString", ""])
async def test_a_parameter_that_the_model_has_not_is_refused(worker: Worker, name: str) -> None:
    status, field, said = refused(worker, f"{urlencode(LEAST)}&{name}=true")
    assert (status, field) == (400, name)
    assert said == (
        f'"{name}" is no parameter of @cf/deepgram/flux; there are encoding, sample_rate, '
        "eager_eot_threshold, eot_threshold, eot_timeout_ms, keyterm, mip_opt_out, tag"
    )


async def test_an_endless_value_is_not_given_back_whole(worker: Worker) -> None:
    _, _, said = refused(worker, f"{urlencode(LEAST)}&tag={'t' * 5000}")
    assert said == f'tag="{"t" * 140}..." is not allowed: allowed is text of 1 to 128 characters'
