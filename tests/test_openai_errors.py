"""What goes wrong with a request: every error that there can be is known."""

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import ModuleType
from typing import Any

import httpx2
import openai
import pytest

from agentkit import _openai
from agentkit.errors import LLMError, TTSError

NOT_OF_REQUESTS = {
    "HTTPXDeprecationWarning",
}
REQUEST = httpx2.Request("POST", "https://api.openai.com/v1/chat/completions")


def errors_of(package: ModuleType) -> Iterator[type[Exception]]:
    """Those that the package's own top-level modules define."""
    for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        name = info.name.rpartition(".")[2]
        if info.ispkg or not name.startswith("_") or name == "_main":  # the last is its command
            continue
        for value in vars(importlib.import_module(info.name)).values():
            if (
                isinstance(value, type)
                and issubclass(value, Exception)
                and value.__module__.partition(".")[0] == package.__name__
                and value.__name__ not in NOT_OF_REQUESTS
            ):
                yield value


def all_errors() -> list[type[Exception]]:
    """httpx2's own, and of the OpenAI package's those of a status: its client asks nothing."""
    statuses = (error for error in errors_of(openai) if issubclass(error, openai.APIStatusError))
    found = {*statuses, *errors_of(httpx2)}
    return sorted(found, key=lambda error: error.__name__)


@pytest.mark.parametrize("error", all_errors(), ids=lambda error: error.__name__)
def test_every_error_of_a_request_is_known(error: type[Exception]) -> None:
    assert issubclass(error, _openai.ERRORS)


def made(error: type[Exception]) -> Exception:
    """One of these, however it is made."""
    make: Callable[..., Exception] = error
    response = httpx2.Response(getattr(error, "status_code", 500), request=REQUEST)
    said = "caller said hi"
    forms: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        ((said,), {"response": response, "body": {"message": said}}),
        ((), {"response": response, "body": None}),
        ((said,), {"request": REQUEST, "response": response}),
        ((said,), {}),
        ((), {}),
    ]
    for arguments, named in forms:
        with suppress(TypeError, AttributeError):
            return make(*arguments, **named)
    raise AssertionError(error)


@pytest.mark.parametrize("error", all_errors(), ids=lambda error: error.__name__)
def test_no_error_repeats_what_was_said(error: type[Exception]) -> None:
    found = _openai.error_from(made(error), TTSError, "openai/m:alloy")
    assert "caller said hi" not in str(found)
    assert str(found).startswith("openai/m:alloy: ")


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (openai.AuthenticationError, "auth"),
        (openai.PermissionDeniedError, "auth"),
        (openai.NotFoundError, "bad_request"),
        (openai.RateLimitError, "rate_limit"),
        (openai.InternalServerError, "server"),
        (httpx2.ReadTimeout, "timeout"),
        (httpx2.ConnectTimeout, "timeout"),
        (httpx2.ReadError, "connection"),
        (httpx2.RemoteProtocolError, "connection"),
        (httpx2.ProxyError, "connection"),
        (httpx2.DecodingError, "protocol"),
        (httpx2.UnsupportedProtocol, "bad_request"),
        (httpx2.InvalidURL, "bad_request"),
        (httpx2.HTTPStatusError, "server"),
        (ConnectionResetError, "connection"),
        (httpx2.StreamConsumed, "other"),
    ],
)
def test_what_errors_mean(error: type[Exception], failure: str) -> None:
    assert _openai.error_from(made(error), LLMError, "openai/m").failure == failure


def test_details_are_told_only_if_they_are_identifiers() -> None:
    response = httpx2.Response(400, request=REQUEST, headers={"x-request-id": "req_1"})
    body = {"code": "context_length_exceeded", "param": "caller said hi", "type": "x"}
    error = openai.BadRequestError("no", response=response, body=body)
    told = str(_openai.error_from(error, LLMError, "openai/m"))
    assert told.endswith("HTTP 400, the request was refused (context_length_exceeded, req_1)")
