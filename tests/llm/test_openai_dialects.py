"""Answers of other servers that speak OpenAI's protocol, and of some that do not."""

import asyncio
from typing import cast

import pytest

from agentkit.core.history import ToolCall, UserMessage
from agentkit.errors import LLMError
from agentkit.llm import Finish, LLMEvent, LLMRequest, TextDelta, Usage
from agentkit.llm.openai import OpenAILLM

ASK = LLMRequest("Be short.", (UserMessage("When do you open?", 1),))


def sse(*payloads: str, end: str = "\n\n") -> bytes:
    return "".join(f"data: {payload}{end}" for payload in payloads).encode()


def delta(fields: str, reason: str = "null") -> str:
    return f'{{"choices":[{{"index":0,"delta":{{{fields}}},"finish_reason":{reason}}}]}}'


def call(fields: str) -> str:
    return delta(f'"tool_calls":[{{{fields}}}]')


class AnsweringServer:
    """Answers every request with the same body and then closes; byte by byte if asked."""

    def __init__(self, body: bytes, *, bytewise: bool = False, head: bytes = b"") -> None:
        self._body = body
        self._answering: set[asyncio.Task[None]] = set()
        self._bytewise = bytewise
        self._head = head or b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    async def __aexit__(self, *_: object) -> None:
        # A spare may just have been accepted, and asyncio forgets what is not made by then.
        loop = asyncio.get_running_loop()
        for listening in self._server.sockets:
            loop.remove_reader(listening.fileno())
        for _round in range(5):
            await asyncio.sleep(0)
        self._server.close()
        for task in self._answering:
            task.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)
        for _round in range(3):
            await asyncio.sleep(0)
        await self._server.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._answering.add(cast("asyncio.Task[None]", asyncio.current_task()))
        try:
            await reader.readuntil(b"\r\n\r\n")
            step = 1 if self._bytewise else len(self._body) or 1
            writer.write(self._head)
            for start in range(0, len(self._body), step):
                writer.write(self._body[start : start + step])
                await writer.drain()
                await asyncio.sleep(0)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # a spare connection that was not used
        finally:
            writer.close()


async def read_from(server: AnsweringServer) -> list[LLMEvent]:
    async with server as base_url:
        llm = OpenAILLM("m", base_url=base_url)
        try:
            return [event async for event in llm.stream(ASK)]
        finally:
            await llm.aclose()


WHOLE = sse(
    delta('"role":"assistant","content":""'),
    delta('"content":"Caf\\u00e9 ☕"'),
    call('"index":0,"id":"a","function":{"name":"look","arguments":"{\\"x\\""}'),
    call('"index":0,"function":{"arguments":":1}"}'),
    delta("", '"tool_calls"'),
    '{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}',
    "[DONE]",
)


@pytest.mark.parametrize("bytewise", [False, True])
@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\n"])
async def test_answer_may_be_cut_anywhere_and_end_its_lines_as_it_likes(
    bytewise: bool, end: bytes
) -> None:
    body = b": keep alive\n\nevent: message\n" + WHOLE.replace(b"\n\n", end)
    assert await read_from(AnsweringServer(body, bytewise=bytewise)) == [
        TextDelta("Café ☕"),
        ToolCall("a", "look", '{"x":1}'),
        Finish("tool_calls", Usage(3, 2)),
    ]


@pytest.mark.parametrize(
    ("payloads", "expected"),
    [
        pytest.param(
            [delta('"content":"Hi."'), "[DONE]"],
            [TextDelta("Hi."), Finish("stop")],
            id="never says why it ends",
        ),
        pytest.param(
            [delta('"content":"Hi."', '"stop"')],
            [TextDelta("Hi."), Finish("stop")],
            id="no [DONE]",
        ),
        pytest.param(
            [delta('"content":"Hi."', '"stop"'), '{"choices":null,"usage":{"prompt_tokens":3}}'],
            [TextDelta("Hi."), Finish("stop", Usage(3))],
            id="choices null",
        ),
        pytest.param(
            [delta('"content":"Hi."'), delta("", '"stop"')[:-1] + ',"usage":{"prompt_tokens":3}}'],
            [TextDelta("Hi."), Finish("stop", Usage(3))],
            id="usage beside the reason",
        ),
        pytest.param(
            [
                call('"index":0,"id":"a","function":{"name":"x","arguments":"{}"}'),
                call('"index":0,"id":"b","function":{"name":"y","arguments":"{}"}'),
                delta("", '"stop"'),
            ],
            [ToolCall("a", "x", "{}"), ToolCall("b", "y", "{}"), Finish("tool_calls")],
            id="every call has index 0, and the reason is stop",
        ),
        pytest.param(
            [
                call('"index":0,"id":"a","function":{"name":"x","arguments":""}'),
                call('"index":1,"id":"b","function":{"name":"y","arguments":"{\\"n\\":"}'),
                call('"index":0,"function":{"arguments":"{}"}'),
                call('"index":1,"function":{"arguments":"2}"}'),
                delta("", '"tool_calls"'),
            ],
            [ToolCall("a", "x", "{}"), ToolCall("b", "y", '{"n":2}'), Finish("tool_calls")],
            id="calls interleaved",
        ),
        pytest.param(
            [delta('"refusal":"I cannot say that."'), delta("", '"stop"'), "[DONE]"],
            [TextDelta("I cannot say that."), Finish("stop")],
            id="refusal",
        ),
        pytest.param(
            [delta('"reasoning_content":"Hmm."'), delta('"content":"Hi."', '"stop"')],
            [TextDelta("Hi."), Finish("stop")],
            id="thoughts are not spoken",
        ),
        pytest.param(
            ['{"choices":[{"finish_reason":"stop"}]}'], [Finish("stop")], id="no delta at all"
        ),
    ],
)
async def test_servers_differ(payloads: list[str], expected: list[LLMEvent]) -> None:
    assert await read_from(AnsweringServer(sse(*payloads))) == expected


async def test_calls_without_an_id_get_one_of_their_own() -> None:
    payload = call('"index":0,"function":{"name":"x"}')
    ids = set()
    for _ in range(2):
        events = await read_from(AnsweringServer(sse(payload, delta("", '"tool_calls"'))))
        assert isinstance(events[0], ToolCall)
        assert events[0].arguments == "{}"
        ids.add(events[0].id)
    assert len(ids) == 2
    assert all(ids)


async def test_only_the_count_is_lost_when_the_end_is_cut_off() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n"
    body = sse(delta('"content":"Hi."'), delta("", '"stop"'))
    assert await read_from(AnsweringServer(body, head=head)) == [TextDelta("Hi."), Finish("stop")]


@pytest.mark.parametrize(
    ("body", "failure"),
    [
        (b"", "connection"),
        (b"<html>a proxy's page</html>", "connection"),
        (sse(delta('"content":"Hi."')), "connection"),
        (sse("{nonsense"), "protocol"),
        (sse("[1]"), "protocol"),
        (sse("null"), "protocol"),
        (sse('{"choices":[1]}'), "protocol"),
        (sse('{"choices":{"a":1}}'), "protocol"),
        (sse(delta('"content":7')), "protocol"),
        (b"data: " + b"x" * 5_000_000, "protocol"),
        (sse('{"error":{"message":"caller said hi","type":"server_error"}}'), "server"),
        (sse('{"error":{"code":429,"message":"caller said hi"}}'), "rate_limit"),
        (sse('{"error":{"code":"rate_limit_exceeded"}}'), "rate_limit"),
        (sse('{"error":{"type":"insufficient_quota"}}'), "other"),
        (sse('{"error":{"type":"invalid_request_error","code":"context_length"}}'), "bad_request"),
        (sse('{"error":"caller said hi"}'), "server"),
    ],
)
async def test_answers_that_are_none(body: bytes, failure: str) -> None:
    with pytest.raises(LLMError) as caught:
        await read_from(AnsweringServer(body))
    assert caught.value.failure == failure
    assert "caller said hi" not in str(caught.value)
    assert caught.value.__context__ is None or isinstance(caught.value.__context__, LLMError)
