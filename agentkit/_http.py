"""HTTP/1.1 to servers that stream: one request at a time on a connection, its answer as it comes.

A token of a model is an answer's part, and a call has hundreds of them a minute. So the answers
are read by httptools (llhttp, the parser of Node.js) where asyncio hands their bytes over, and
nothing lies between that and who waits for them. Failures are httpx2's exceptions.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import cast

import httptools
import httpx2

_READ_AHEAD = 256 * 1024  # bytes that wait to be read before the server has to wait
_LONGEST_HEAD = 64 * 1024  # bytes of an answer's headers


class StaleConnection(httpx2.ReadError):
    """The server had closed the connection before the request reached it."""


class Answer:
    """The answer to a request. Iterate its body once, as it comes; close it in any case.

    Its methods ``on_...`` are called by httptools.

    Args:
        connection: on which it comes.
        timeout: longest wait for the next bytes, in seconds.

    Attributes:
        status: the code of RFC 9110.
        headers: names are in lower case; of those that come twice the last.
    """

    def __init__(self, connection: Connection, timeout: float) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.begun = False  # some of it came
        self.whole = False  # all of it came
        self.can_stay = False  # its connection can take another request then
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._connection: Connection | None = connection
        self._timeout = timeout
        self._parts: deque[bytes] = deque()
        self._size = 0
        self._left_of_head = _LONGEST_HEAD
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._waiting_since = 0.0
        self._timer: asyncio.TimerHandle | None = None

    # httptools' side

    def on_message_begin(self) -> None:
        if self.whole:  # another answer, to nothing
            self.can_stay = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.status:  # what follows the body tells nothing
            self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._parser is None or self.whole:
            return
        status = self._parser.get_status_code()
        if status < 200:  # told in advance, such as 103 Early Hints: the answer is yet to come
            self.headers.clear()
        else:
            self.status = status
            self.can_stay = self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        if not self.whole:
            self._parts.append(body)
            self._size += len(body)

    def on_message_complete(self) -> None:
        self.whole = self.status >= 200

    # the connection's side

    def feed(self, data: bytes) -> None:
        """Take the next bytes. Raises httpx2.RemoteProtocolError."""
        parser, self.begun = self._parser, True
        if parser is None:
            return
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as exc:
            self.can_stay = False
            if not self.whole:
                raise httpx2.RemoteProtocolError(type(exc).__name__) from None
        if not self.status:
            self._left_of_head -= len(data)
        if self._left_of_head < 0:
            raise httpx2.RemoteProtocolError("the head is too long")
        if self._size > _READ_AHEAD and self._connection is not None:
            self._connection.pause()
        self._wake()

    def end(self, error: Exception | None) -> None:
        """Nothing more comes, be it that all has come, or for an error."""
        self._connection = None
        self._parser = None  # each holds on to the other
        if self.whole:
            pass
        elif error is None and self.status and not self._measured():
            self.whole = True
        else:
            self._error = error or httpx2.RemoteProtocolError("the answer was cut off")
        self._wake()

    def _measured(self) -> bool:
        """Whether the end of the body is told by other means than the connection's."""
        return "content-length" in self.headers or "transfer-encoding" in self.headers

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # the reader's side

    async def head(self) -> None:
        """Wait for the status and the headers. Raises httpx2.TransportError."""
        while not self.status:
            await self._more()

    def __aiter__(self) -> Answer:
        return self

    async def __anext__(self) -> bytes:
        """The next bytes of the body, however many there are. Raises httpx2.TransportError."""
        while not self._parts:
            if self.whole:
                raise StopAsyncIteration
            await self._more()
        part = self._parts.popleft()
        self._size -= len(part)
        if self._connection is not None and self._size <= _READ_AHEAD // 2:
            self._connection.resume()
        return part

    async def _more(self) -> None:
        if self._error is not None:
            raise self._error
        loop = asyncio.get_running_loop()
        self._waiting_since = loop.time()
        if self._timer is None:  # one for all waits: most are over long before
            self._timer = loop.call_later(self._timeout, self._look_at_time)
        self._waiter = loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _look_at_time(self) -> None:
        self._timer = None
        if self._waiter is None:
            return
        loop = asyncio.get_running_loop()
        left = self._waiting_since + self._timeout - loop.time()
        if left > 0:
            self._timer = loop.call_later(left, self._look_at_time)
        elif self._connection is not None:
            self._connection.give_up(httpx2.ReadTimeout("no answer in time"))

    async def aclose(self) -> None:
        """Let go of the connection; unless all of the answer came, that closes it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._connection is not None:
            self._connection.abort()


class Connection(asyncio.Protocol):
    """A connection to a server. Whoever holds it may make one request after another.

    Attributes:
        opened: when it was, on the loop's clock.
        fresh: it was opened since the request was made that it carries.
        on_end: told once it is closed, by whomever.
    """

    def __init__(self) -> None:
        self.opened = 0.0
        self.fresh = False
        self.on_end: Callable[[Connection], None] | None = None
        self._on_free: Callable[[Connection], None] | None = None
        self._transport: asyncio.Transport | None = None
        self._answer: Answer | None = None
        self._ended = False
        self._reading = True
        self._writable: asyncio.Future[None] | None = None

    @property
    def alive(self) -> bool:
        """Neither side has closed it, and a request can be made."""
        return not self._ended and self._transport is not None and not self._transport.is_closing()

    async def ask(
        self, request: bytes, timeouts: tuple[float, float], on_free: Callable[[Connection], None]
    ) -> Answer:
        """Send a request and wait for the head of its answer.

        Cancelling closes the connection, and so does a failure.

        Args:
            request: head and body.
            timeouts: seconds without progress: of writing, of reading.
            on_free: told once the answer is whole and another request can be made.

        Raises:
            StaleConnection: the server had closed it; nothing came of the request.
            httpx2.TransportError: it failed.
        """
        if self._transport is None or not self.alive:
            raise StaleConnection("closed")
        write, read = timeouts
        answer = self._answer = Answer(self, read)
        self._on_free = on_free
        try:
            self._transport.write(request)
            if self._writable is not None:  # it is a long one, and the server slow
                await self._drain(write)
            await answer.head()
        except BaseException:
            await answer.aclose()
            raise
        return answer

    async def _drain(self, seconds: float) -> None:
        while self._writable is not None:
            try:
                async with asyncio.timeout(seconds):
                    await self._writable
            except TimeoutError:
                raise httpx2.WriteTimeout("the server takes nothing") from None

    def pause(self) -> None:
        """Read no further for now."""
        if self._reading and self._transport is not None and not self._transport.is_closing():
            self._reading = False
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if not self._reading and self._transport is not None and not self._transport.is_closing():
            self._reading = True
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close the socket in the loop's next round.

        Without a TLS farewell and without sending what is still queued: it happens when a request
        is given up, or when nothing is queued.
        """
        if self._transport is not None:
            self._transport.abort()

    def give_up(self, error: Exception) -> None:
        """Close it; the request fails with that error."""
        self._let_go(error)
        self.abort()

    def _let_go(self, error: Exception | None) -> None:
        if (answer := self._answer) is not None:
            self._answer = None
            answer.end(error)

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None:  # nothing was asked: what else it says cannot be trusted
            self.abort()
            return
        try:
            answer.feed(data)
        except httpx2.RemoteProtocolError as exc:
            self.give_up(exc)
            return
        if answer.whole:
            self._let_go(None)
            if answer.can_stay and self._on_free is not None:
                self.resume()
                self._on_free(self)
            else:
                self.abort()

    def eof_received(self) -> None:
        self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc)

    def pause_writing(self) -> None:
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self._writable is not None:
            if not self._writable.done():
                self._writable.set_result(None)
            self._writable = None

    def _end(self, error: Exception | None) -> None:
        if self._ended:
            return
        self._ended = True
        self.resume_writing()
        lost: Exception | None = None
        if (answer := self._answer) is not None:
            if not answer.begun and not self.fresh:
                lost = StaleConnection("closed")
            elif error is not None:
                lost = httpx2.ReadError(type(error).__name__)
            self._let_go(lost)
        if self.on_end is not None:
            self.on_end(self)
