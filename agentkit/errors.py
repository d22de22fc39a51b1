"""Every error agentkit raises on purpose.

    AgentkitError
    ├── ConfigError                a setting is wrong: names the field and the mend
    │   └── FluxOptionError        an input of Flux is out of its range
    ├── PluginError
    │   ├── PluginNotFound         no backend of that name is installed
    │   ├── PluginConflict         two packages offer the same name
    │   └── PluginLoadError        the backend is installed but its import failed
    ├── UsageError                 the caller's own mistake, at the line that made it
    │   ├── DraftFenceError        a verb or a history write inside a draft (rule T24)
    │   └── SelfWaitError          waiting inside a reply for that same reply
    ├── BackendError               a model or a voice failed; says whether to try again
    │   ├── LLMError
    │   └── TTSError
    ├── SourceError                the source of turns failed
    │   ├── FluxHandshakeError     the connection was refused
    │   ├── FluxProtocolError      Flux reported a fatal error
    │   └── FluxConnectionError    the connection was lost, or could not be made
    ├── TransportError             the caller's side of the audio failed
    │   └── CallControlError       a carrier did not do what it was asked to do with a call
    └── RecordError                a record cannot be read or does not replay

Each has a stable ``code`` for programs and a message for people. No message holds a secret or
anything a caller said.
"""

from __future__ import annotations

from typing import ClassVar, Literal


class AgentkitError(Exception):
    """The root of the tree. ``retryable`` says whether the same attempt may work later."""

    code: str = "agentkit"
    retryable: bool = False


class ConfigError(AgentkitError, ValueError):
    """A setting is wrong.

    Args:
        field: the setting's name, as the user wrote it.
        problem: what is wrong, and the allowed values or the mend.
    """

    code = "config"

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class FluxOptionError(ConfigError):
    """An input of Flux is out of its range. Raised before any connection is made."""

    code = "flux_option"


class PluginError(AgentkitError):
    """A backend could not be had."""

    code = "plugin"


class PluginNotFound(PluginError):
    """No backend of that name is installed. The message lists what is."""

    code = "plugin_not_found"


class PluginConflict(PluginError):
    """Two installed packages offer a backend of the same name. The message names both."""

    code = "plugin_conflict"


class PluginLoadError(PluginError):
    """The backend is installed but could not be imported; ``__cause__`` says why."""

    code = "plugin_load"


class UsageError(AgentkitError, RuntimeError):
    """The caller's own mistake."""

    code = "usage"


class DraftFenceError(UsageError):
    """A session verb or a history write was used inside a draft (rule T24).

    The message names the seam to use instead: ``await turn.committed()`` or
    ``await turn.settled()``.
    """

    code = "draft_fence"

    def __init__(self, verb: str) -> None:
        super().__init__(
            f"session.{verb}() was called while the reply is still a draft, which may yet be "
            "thrown away. Call it after `await turn.committed()`, or, if it cannot be taken "
            "back, after `await turn.settled()`."
        )
        self.verb = verb


class SelfWaitError(UsageError):
    """A reply waited for itself, or for speech that is queued behind it."""

    code = "self_wait"


Failure = Literal[
    "auth", "rate_limit", "timeout", "connection", "bad_request", "server", "protocol", "other"
]


class BackendError(AgentkitError):
    """A model or a voice failed.

    Args:
        message: for people, free of secrets and of the caller's words.
        failure: what kind of failure; ``auth`` and ``bad_request`` are never retryable.
        status: the HTTP status, if there was one.
    """

    code = "backend"
    _retryable: ClassVar[frozenset[str]] = frozenset(
        {"rate_limit", "timeout", "connection", "server", "protocol"}
    )

    def __init__(
        self, message: str, *, failure: Failure = "other", status: int | None = None
    ) -> None:
        super().__init__(message)
        self.failure: Failure = failure
        self.status = status
        self.retryable = failure in self._retryable


class LLMError(BackendError):
    """The language model failed."""

    code = "llm"


class TTSError(BackendError):
    """The voice failed."""

    code = "tts"


class SourceError(AgentkitError):
    """The source of turns failed."""

    code = "source"


class FluxHandshakeError(SourceError):
    """Flux refused the connection.

    Args:
        status: the HTTP status. 4xx is permanent and never retried, except 408 and 429.
        reason: Flux's own words (header ``dg-error`` or the body).
        request_id: header ``dg-request-id``, for a support request.
    """

    code = "flux_handshake"

    def __init__(self, status: int, reason: str, request_id: str | None = None) -> None:
        where = f" (request id {request_id})" if request_id else ""
        super().__init__(f"Flux refused the connection with HTTP {status}: {reason}{where}")
        self.status = status
        self.reason = reason
        self.request_id = request_id
        self.retryable = status in (408, 429) or status >= 500


class FluxProtocolError(SourceError):
    """Flux sent a fatal ``Error``; the connection is closed after it."""

    code = "flux_protocol"

    def __init__(self, flux_code: str, description: str) -> None:
        super().__init__(f"Flux reported {flux_code}: {description}")
        self.flux_code = flux_code
        self.description = description
        self.retryable = True


class FluxConnectionError(SourceError):
    """The connection to Flux was lost, went silent, or could not be made."""

    code = "flux_connection"
    retryable = True


class TransportError(AgentkitError):
    """The caller's side of the audio failed."""

    code = "transport"


class CallControlError(TransportError):
    """A carrier did not do what it was asked to do with a call: hang up, transfer, dial.

    Args:
        message: for people, free of secrets and numbers.
        status: the HTTP status, if there was one.
    """

    code = "call_control"

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retryable = status is None or status == 429 or status >= 500


class RecordError(AgentkitError):
    """A record cannot be read, or does not replay."""

    code = "record"
