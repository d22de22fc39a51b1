"""The scripted OpenAI server, spoken to by the official client and by bare sockets."""

import asyncio
import contextlib
import gc
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx2
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from agentkit.core.history import ToolCall
from agentkit.testing.openai import ChatReply, Delays, Fault, ScriptedOpenAI, SpeechReply

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello"}]


@pytest.fixture
async def server() -> AsyncIterator[ScriptedOpenAI]:
    async with ScriptedOpenAI() as server:
        yield server


def client_of(server: ScriptedOpenAI, key: str = "sk-test") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key=key, base_url=server.base_url, max_retries=0)


async def test_official_client_reads_text_calls_and_usage(server: ScriptedOpenAI) -> None:
    call = ToolCall("call_1", "book", '{"name": "Ann", "day": "Tuesday"}')
    server.chat = ChatReply("One moment, please.", (call,), prompt_tokens=70, cached_tokens=64)
    text, name, arguments, reasons, usage = "", "", "", [], None
    async with client_of(server) as client:
        stream = await client.chat.completions.create(
            model="m", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        async for chunk in stream:
            usage = chunk.usage or usage
            for choice in chunk.choices:
                text += choice.delta.content or ""
                for delta in choice.delta.tool_calls or ():
                    assert delta.function is not None
                    name += delta.function.name or ""
                    arguments += delta.function.arguments or ""
                reasons += [choice.finish_reason] if choice.finish_reason else []
    assert text == "One moment, please."
    assert (name, json.loads(arguments)) == ("book", {"name": "Ann", "day": "Tuesday"})
    assert reasons == ["tool_calls"]
    assert usage is not None
    assert usage.prompt_tokens == 70
    assert usage.prompt_tokens_details is not None
    assert usage.prompt_tokens_details.cached_tokens == 64


async def test_answers_whole_when_no_stream_is_asked_for(server: ScriptedOpenAI) -> None:
    server.chat = ChatReply("Hi.", (ToolCall("c", "look", "{}"),))
    async with client_of(server) as client:
        answer = await client.chat.completions.create(model="m", messages=HELLO)
    assert answer.choices[0].message.content == "Hi."
    assert answer.choices[0].message.tool_calls is not None
    assert answer.choices[0].finish_reason == "tool_calls"


async def test_official_client_reads_speech(server: ScriptedOpenAI) -> None:
    server.speech = SpeechReply(audio=b"\x01\x02\x03\x04\x05\x06", chunk=1)
    async with client_of(server) as client:
        answer = await client.audio.speech.create(
            model="m", voice="alloy", input="Hello", response_format="pcm"
        )
    assert answer.content == b"\x01\x02\x03\x04\x05\x06"
    assert server.speeches[0].sent_bytes == 6
    assert server.speeches[0].tokens == 6


async def test_tone_lasts_as_long_as_was_asked_for(server: ScriptedOpenAI) -> None:
    async with client_of(server) as client:
        server.speech = SpeechReply(seconds=0.5)
        half = await client.audio.speech.create(
            model="m", voice="alloy", input="Hello", response_format="pcm"
        )
        server.speech = SpeechReply()
        whole = await client.audio.speech.create(
            model="m", voice="alloy", input="x" * 50, response_format="pcm"
        )
    assert len(half.content) == 24000
    assert len(whole.content) == 3 * 48000
    assert any(half.content)


async def test_lists_a_model_and_refuses_unknown_paths(server: ScriptedOpenAI) -> None:
    async with client_of(server) as client:
        assert [model.id async for model in client.models.list()] == ["scripted"]
        with pytest.raises(openai.NotFoundError):
            await client.embeddings.create(model="m", input="x")


async def test_delays_are_kept(server: ScriptedOpenAI) -> None:
    server.chat = ChatReply("a b c")
    server.delays = Delays(first_token=0.05, per_token=0.02, first_audio=0.05, audio_pace=10)
    server.speech = SpeechReply(seconds=1.0)
    async with client_of(server) as client:
        await client.chat.completions.create(model="m", messages=HELLO, stream=False)
        stream = await client.chat.completions.create(model="m", messages=HELLO, stream=True)
        async for _ in stream:
            pass
        await client.audio.speech.create(
            model="m", voice="alloy", input="Hello", response_format="pcm"
        )
    chat, speech = server.chats[1], server.speeches[0]
    assert chat.first_sent_at is not None
    assert chat.finished_at is not None
    assert 0.05 <= chat.first_sent_at - chat.arrived < 0.5
    assert chat.finished_at - chat.arrived >= 0.09
    assert speech.first_sent_at is not None
    assert speech.finished_at is not None
    assert speech.first_sent_at - speech.arrived >= 0.05
    assert speech.finished_at - speech.arrived >= 0.14


async def test_accept_delay_counts_from_the_connection(server: ScriptedOpenAI) -> None:
    server.delays = Delays(accept=0.1)
    async with httpx2.AsyncClient() as client:
        await client.get(f"{server.base_url}/models")
        await client.get(f"{server.base_url}/models")
    first, second = server.requests
    assert (first.connection, second.connection, server.connections) == (0, 0, 1)
    assert second.arrived - first.arrived < 0.1


async def test_script_as_list_is_used_up_in_order(server: ScriptedOpenAI) -> None:
    server.chat = [ChatReply("one"), ChatReply("two")]
    async with client_of(server) as client:
        answers = [
            (await client.chat.completions.create(model="m", messages=HELLO)) for _ in range(2)
        ]
        with pytest.raises(openai.InternalServerError, match="no more answers"):
            await client.chat.completions.create(model="m", messages=HELLO)
    assert [a.choices[0].message.content for a in answers] == ["one", "two"]


async def test_script_as_function_sees_the_request(server: ScriptedOpenAI) -> None:
    server.chat = lambda body: ChatReply(f"You said {body['messages'][-1]['content']}.")
    async with client_of(server) as client:
        answer = await client.chat.completions.create(model="m", messages=HELLO)
    assert answer.choices[0].message.content == "You said Hello."


async def test_script_that_raises_fails_the_test_that_wrote_it() -> None:
    def broken(body: Mapping[str, Any]) -> ChatReply:
        raise LookupError("in the script")

    async def ask() -> None:
        async with ScriptedOpenAI(broken) as server, client_of(server) as client:
            with pytest.raises(openai.APIConnectionError):
                await client.chat.completions.create(model="m", messages=HELLO)

    with pytest.raises(LookupError, match="in the script"):
        await ask()


async def test_checks_the_key() -> None:
    async with ScriptedOpenAI(api_key="sk-right") as server:
        async with client_of(server, "sk-wrong") as client:
            with pytest.raises(openai.AuthenticationError):
                await client.chat.completions.create(model="m", messages=HELLO)
        async with client_of(server, "sk-right") as client:
            await client.chat.completions.create(model="m", messages=HELLO)
    assert [r.status for r in server.requests] == [401, 200]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503])
async def test_fault_status(server: ScriptedOpenAI, status: int) -> None:
    server.chat = ChatReply(fault=Fault("status", status=status, code="some_code", message="Oh."))
    async with client_of(server) as client:
        with pytest.raises(openai.APIStatusError, match="Oh") as caught:
            await client.chat.completions.create(model="m", messages=HELLO, stream=True)
    assert caught.value.status_code == status
    assert caught.value.code == "some_code"


@pytest.mark.parametrize("kind", ["cut", "malformed", "error"])
async def test_faults_in_the_midst_of_a_stream(server: ScriptedOpenAI, kind: Any) -> None:
    server.chat = ChatReply("a b c", fault=Fault(kind, after=2))

    async def read() -> None:
        async with client_of(server) as client:
            stream = await client.chat.completions.create(model="m", messages=HELLO, stream=True)
            async for _ in stream:
                pass

    with pytest.raises((openai.APIError, httpx2.HTTPError, json.JSONDecodeError)):
        await read()
    assert server.chats[0].tokens == (3 if kind == "malformed" else 2)


async def test_cut_before_the_headers(server: ScriptedOpenAI) -> None:
    server.chat = ChatReply("a", fault=Fault("cut", after=-1))
    server.speech = SpeechReply(fault=Fault("cut", after=1))
    async with client_of(server) as client:
        with pytest.raises(openai.APIConnectionError):
            await client.chat.completions.create(model="m", messages=HELLO, stream=True)
        with pytest.raises(openai.APIConnectionError):
            await client.audio.speech.create(
                model="m", voice="alloy", input="Hello", response_format="pcm"
            )


async def test_stall_holds_until_the_client_has_gone(server: ScriptedOpenAI) -> None:
    server.chat = ChatReply("a b c", fault=Fault("stall", after=1))
    async with client_of(server) as client:
        stream = await client.chat.completions.create(model="m", messages=HELLO, stream=True)
        async for chunk in stream:
            if chunk.choices[0].delta.content:
                break
        assert not server.chats[0].over
        await stream.close()
        await server.until(lambda: server.chats[0].over)
    request = server.chats[0]
    assert request.closed_at is not None
    assert request.finished_at is None
    assert request.tokens == 1


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([], "empty array"),
        ([{"role": "nobody", "content": "x"}], "Invalid value"),
        ([{"role": "user", "content": None}], "content"),
        ([{"role": "tool", "tool_call_id": "a", "content": "x"}], "role 'tool'"),
        (
            [
                {"role": "assistant", "content": None, "tool_calls": [{"id": "a"}]},
                {"role": "user", "content": "x"},
            ],
            "must be followed by tool messages",
        ),
        (
            [{"role": "assistant", "content": None, "tool_calls": [{"id": "a"}]}],
            "must be followed by tool messages",
        ),
    ],
)
async def test_refuses_the_messages_that_openai_refuses(
    server: ScriptedOpenAI, messages: list[Any], words: str
) -> None:
    async with client_of(server) as client:
        with pytest.raises(openai.BadRequestError, match=words):
            await client.chat.completions.create(model="m", messages=messages)


@pytest.mark.parametrize(
    "change", [{"input": ""}, {"input": "x" * 4097}, {"voice": ""}, {"response_format": "mp3"}]
)
async def test_refuses_the_speech_that_openai_refuses(
    server: ScriptedOpenAI, change: dict[str, str]
) -> None:
    body = {"model": "m", "voice": "v", "input": "Hi", "response_format": "pcm"} | change
    async with httpx2.AsyncClient() as client:
        answer = await client.post(f"{server.base_url}/audio/speech", json=body)
    assert answer.status_code == 400


async def test_bodies_that_are_no_json_object_are_refused(server: ScriptedOpenAI) -> None:
    async with httpx2.AsyncClient() as client:
        for body in (b"{", b"[]"):
            answer = await client.post(f"{server.base_url}/chat/completions", content=body)
            assert answer.status_code == 400


async def test_requests_come_in_pieces_and_connections_are_counted(server: ScriptedOpenAI) -> None:
    reader, writer = await asyncio.open_connection(server.host, server.port)
    await server.until(lambda: server.open_connections == 1)
    for piece in (b"GET /v1/mod", b"els HTTP/1.1\r\nHost: x\r\n", b"\r\n"):
        writer.write(piece)
        await writer.drain()
    assert (await reader.readline()) == b"HTTP/1.1 200 OK\r\n"
    server.drop_connections()
    await server.until(lambda: server.open_connections == 0)
    writer.close()
    assert server.connections == 1


async def test_until_gives_up(server: ScriptedOpenAI) -> None:
    with pytest.raises(TimeoutError):
        await server.until(lambda: False, within=0.01)


async def test_headers_stay_out_of_the_repr(server: ScriptedOpenAI) -> None:
    async with client_of(server, "sk-secret") as client:
        await client.chat.completions.create(model="m", messages=HELLO)
    assert server.requests[0].headers["authorization"] == "Bearer sk-secret"
    assert "sk-secret" not in repr(server.requests[0])


async def test_leaving_closes_what_is_still_being_answered() -> None:
    async with (
        httpx2.AsyncClient() as client,
        ScriptedOpenAI(ChatReply("a", fault=Fault("stall"))) as server,
    ):
        body = {"model": "m", "messages": HELLO, "stream": True}
        async with client.stream("POST", f"{server.base_url}/chat/completions", json=body):
            await server.aclose()
            await server.until(lambda: server.open_connections == 0)
    assert server.chats[0].closed_at is not None


@pytest.mark.parametrize("rounds", range(6))
async def test_a_connection_that_was_just_accepted_is_closed_too(rounds: int) -> None:
    """Whichever round of the loop it is in when the server closes, nothing of it is left."""
    server = ScriptedOpenAI()
    await server.start()
    connecting = asyncio.create_task(asyncio.open_connection(server.host, server.port))
    for _ in range(rounds):
        await asyncio.sleep(0)
    await server.aclose()
    with contextlib.suppress(ConnectionError):
        reader, writer = await connecting
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    assert server.open_connections == 0
    gc.collect()  # what was not closed is told by a warning, which is an error here
