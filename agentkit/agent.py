"""`Agent`: what a user subclasses."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from agentkit.core.economy import Pace
from agentkit.core.history import Message
from agentkit.core.policy import Digits, Interruption, Limits, Policy, Silence, Speculation
from agentkit.errors import UsageError
from agentkit.session import Session, Turn
from agentkit.tools import Tool, collect

if TYPE_CHECKING:
    from agentkit.core.commands import ErrorRaised, ReplyEnded
    from agentkit.flux import FluxOptions
    from agentkit.llm import LLM
    from agentkit.tts import TTS
    from agentkit.turns import TurnProfile, TurnSource


class Agent:
    """A voice agent. Subclass it; one instance serves one call.

    Class attributes say who it is; methods marked with `agentkit.tool` are what it can do; the
    hooks below are called as the conversation goes on. All hooks are optional. None of them
    delays the conversation, and an error in one is reported and ends only that hook.

    Attributes:
        instructions: the system prompt.
        greeting: said when the call begins; None: silent until spoken to.
        apology: said when all else failed; voiced at the start of the call. None: say nothing.
        filler: said while the model or a tool is slow; tools may have their own. None: nothing.
        farewell: said before the agent hangs up because the call has got too long.
        language: picks the word lists of turn-taking, e.g. ``en`` or ``es``.
        llm: the model's name (``openai/gpt-4.1-mini``) or an `LLM`; None: what is set up.
        tts: the voice's name (``openai/gpt-4o-mini-tts:alloy``) or a `TTS`; None likewise.
        flux: options of the source of turns, or a `TurnSource`; None: the defaults.
        speculation: how far replies are drafted ahead, and what that may cost.
        pace: the least time before an answer is heard; it does not depend on drafts.
        profiles: how to listen to answers of a kind, by name, for `Session.listening`; besides
            those of `agentkit.turns.PROFILES`.
        interruption: when the caller takes the floor.
        silence: what becomes of a caller who says nothing.
        digits: when keys that were pressed are complete.
        limits: how long things may take.
    """

    instructions: str = "You are a friendly assistant on the phone. Answer in short sentences."
    greeting: str | None = None
    apology: str | None = "I am sorry, something went wrong here. Could you say that again, please?"
    filler: str | None = None
    farewell: str | None = "I have to end this call now. Goodbye."
    language: str = "en"
    llm: str | LLM | None = None
    tts: str | TTS | None = None
    flux: FluxOptions | TurnSource | str | None = None
    speculation: Speculation = Speculation()
    pace: Pace = Pace()
    profiles: Mapping[str, TurnProfile] = {}
    interruption: Interruption = Interruption()
    silence: Silence = Silence()
    digits: Digits = Digits()
    limits: Limits = Limits()

    tools: ClassVar[dict[str, Tool[Any]]] = {}
    """The tools of the class by name, in the order in which they are written."""

    _session: Session | None = None
    _acts_on_turns: ClassVar[bool] = False
    """It does something for each settled turn."""
    _makes_ready: ClassVar[bool] = False
    """It does something when the caller begins to speak."""
    _expects_answers: ClassVar[bool] = False
    """It names answers to its questions."""

    def __init_subclass__(cls) -> None:
        """Collect the tools, so that a mistake in one is found when the class is written."""
        super().__init_subclass__()
        cls.tools = collect(cls)
        cls._acts_on_turns = cls.on_turn is not Agent.on_turn
        cls._makes_ready = cls.caller_began is not Agent.caller_began
        cls._expects_answers = cls.answers_to is not Agent.answers_to

    @property
    def session(self) -> Session:
        """The conversation that this agent is in. Raises UsageError outside of one."""
        if self._session is None:
            raise UsageError("the agent is not in a conversation: run it with agentkit.Session")
        return self._session

    def policy(self) -> Policy:
        """The settings of turn-taking, put together from the class attributes.

        A late first token is asked for twice only where the brain is the default one: what a
        brain of the user's own does after the commit has to happen once.
        """
        judged = type(self).takes_floor is not Agent.takes_floor
        return Policy(
            speculation=self.speculation,
            interruption=replace(self.interruption, judged=judged),
            limits=self.limits,
            silence=self.silence,
            digits=self.digits,
            pace=self.pace,
            hedge=type(self).reply is Agent.reply,
            language=self.language,
            filler=self.filler or "",
            farewell=self.farewell or "",
        )

    # -------------------------------------------------------------------------- what it answers

    def reply(self, turn: Turn) -> AsyncGenerator[str, None]:
        """Yield the text of the reply to a turn, as it comes.

        Override it whole to put another brain in place of the language model:
        ``async def reply(self, turn): yield "..."``. It may run while the turn is a draft; one
        task iterates it from first to last, and a discard cancels that task and closes the
        generator. What shall happen only if the reply is heard belongs behind ``await
        turn.committed()``; what cannot be undone, behind ``await turn.settled()`` (rule T24).
        """
        return self.session.generate(turn)

    async def prepare(self, turn: Turn) -> Sequence[Message]:
        """Look things up for the model before it answers. Runs in drafts: it may only read."""
        return ()

    async def caller_began(self) -> None:
        """Make ready what `prepare` and tools will need: the caller has begun to speak.

        Runs beside the conversation, once for each time that they begin; it may only read. The
        model's and the voice's connections are made ready by themselves.
        """

    def answers_to(self, question: str) -> Sequence[str]:
        """Name the two or three likeliest answers to a question that the agent is asking.

        As many of them as ``speculation.expected`` allows are drafted while it is asked and
        answered, and the one that the caller gives, word for word, is answered from its draft.
        It is called once for each reply that ends in a question mark, when that is written, on
        the event loop: it has to answer at once. What it answers is in the call's record.
        """
        return ()

    def spoken(self, text: str) -> str:
        """Rewrite a piece of text for the voice: markdown, numbers, names. Must be pure."""
        return text

    def takes_floor(self, text: str, saying: str) -> bool | None:
        """Decide what the caller's words mean while the agent is talking (rule T17).

        Override it to decide before the word lists do. It is called for each new version of the
        words, on the event loop: it has to answer at once. Its verdicts are in the call's record.

        Args:
            text: what the caller has said so far in this turn.
            saying: the agent's sentence that the caller is hearing.

        Returns:
            True: an interruption. False: a sound of attention, the agent goes on. None: let the
            word lists of ``interruption`` decide.
        """
        return None

    # ------------------------------------------------------------------------------------ hooks

    async def on_start(self) -> None:
        """The call has begun; the greeting is on its way."""

    async def on_turn(self, turn: Turn) -> None:
        """A turn has settled. Once for each, beside the reply, never delaying it."""

    async def on_reply(self, reply: ReplyEnded) -> None:
        """A reply was heard to its end."""

    async def on_interrupted(self, reply: ReplyEnded) -> None:
        """A reply was cut off; ``reply.heard`` is what the caller heard of it."""

    async def on_silence(self, count: int) -> None:
        """Nobody has spoken for ``silence.after`` seconds, for the ``count``-th time in a row."""

    async def on_dtmf(self, digits: str) -> None:
        """The caller pressed these keys; they are answered as a turn with ``turn.digits``."""

    async def on_error(self, error: ErrorRaised | Exception) -> None:
        """Something failed that is the caller's concern, or the agent's own code raised."""

    async def on_end(self, reason: str) -> None:
        """The call is over."""
