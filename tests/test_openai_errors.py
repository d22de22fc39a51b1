"""What the OpenAI package's errors mean: every one of them is known."""

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import httpx2
import openai
import pytest

from agentkit import _openai
from agentkit.errors import LLMError, TTSError

NOT_OF_REQUESTS = {
    "HTTPXDeprecationWarning",
    "InvalidWebhookSignatureError",  # about webhooks that OpenAI sends
}
REQUEST = httpx2.Request("POST", "https://api.openai.com/v1/chat/completions")


def errors_of(package: ModuleType) -> Iterator[type[Exception]]:
    for name in ("_exceptions",):
        module = importlib.import_module(f"{package.__name__}.{name}")
        for value in vars(module).values():
            if (
                isinstance(value, type)
                and issubclass(value, Exception)
                and value.__module__.startswith(package.__name__)
                and value.__name__ not in NOT_OF_REQUESTS
            ):
                yield value


def all_errors() -> list[type[Exception]]:
    return [*errors_of(openai), *errors_of(httpx2)]


@pytest.mark.parametrize("error", all_errors(), ids=lambda error: error.__name__)
def test_every_error_of_the_client_is_known(error: type[Exception]) -> None:
    assert issubclass(error, _openai.ERRORS)


def test_no_error_of_the_client_hides_elsewhere() -> None:
    """Whatever else openai's own modules define is an OpenAIError too, or not of requests."""
    for info in pkgutil.iter_modules(openai.__path__, "openai."):
        if info.name.rpartition(".")[2].startswith("_") and not info.ispkg:
            module = importlib.import_module(info.name)
            for value in vars(module).values():
                if (
                    isinstance(value, type)
                    and issubclass(value, Exception)
                    and value.__module__.startswith("openai")
                    and value.__name__ not in NOT_OF_REQUESTS
                ):
                    assert issubclass(value, _openai.ERRORS), value


def made(error: type[Exception]) -> Exception:
    """One of these, however it is made."""
    response = httpx2.Response(getattr(error, "status_code", 500), request=REQUEST)
    for arguments in (
        lambda: error("caller said hi", response=response, body={"message": "caller said hi"}),  # type: ignore[call-arg]
        lambda: error(response=response, body=None),  # type: ignore[call-arg]
        lambda: error("caller said hi", REQUEST, body=None),  # type: ignore[call-arg]
        lambda: error("caller said hi", request=REQUEST, response=response),  # type: ignore[call-arg]
        lambda: error(request=REQUEST),  # type: ignore[call-arg]
        lambda: error(completion=None),  # type: ignore[call-arg]
        lambda: error("caller said hi", unsent_messages=[]),  # type: ignore[call-arg]
        lambda: error("caller said hi"),
        lambda: error(),
    ):
        try:
            return arguments()
        except (TypeError, AttributeError):
            continue
    raise AssertionError(error)


@pytest.mark.parametrize(
    "error", [e for e in all_errors() if e is not openai.LengthFinishReasonError],
    ids=lambda error: error.__name__,
)  # fmt: skip
def test_no_error_repeats_what_was_said(error: type[Exception]) -> None:
    found = _openai.error_from(made(error), TTSError, "openai/m:alloy")
    assert "caller said hi" not in str(found)
    assert str(found).startswith("openai/m:alloy: ")


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (openai.APITimeoutError, "timeout"),
        (openai.APIConnectionError, "connection"),
        (openai.AuthenticationError, "auth"),
        (openai.PermissionDeniedError, "auth"),
        (openai.NotFoundError, "bad_request"),
        (openai.RateLimitError, "rate_limit"),
        (openai.InternalServerError, "server"),
        (openai.APIResponseValidationError, "protocol"),
        (openai.ContentFilterFinishReasonError, "other"),
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
