"""SVOX Pico, step by step: its C functions in the library that ``py-nanotts`` ships.

The package's own call speaks a whole text without letting other Python threads run. Its library
also exports Pico's functions (picoapi.h). Called through ctypes they let other threads run, give
the audio while it is being made, and keep the voice loaded. Where they are not exported (the
wheel for Windows), the package's own call is used.
"""

from __future__ import annotations

import ctypes
import re
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from agentkit.errors import TTSError

RATE = 16000
"""Hz, of all voices."""

VOICES = {
    "en-US": ("en-US_ta.bin", "en-US_lh0_sg.bin"),
    "en-GB": ("en-GB_ta.bin", "en-GB_kh0_sg.bin"),
    "de-DE": ("de-DE_ta.bin", "de-DE_gl0_sg.bin"),
    "es-ES": ("es-ES_ta.bin", "es-ES_zl0_sg.bin"),
    "fr-FR": ("fr-FR_ta.bin", "fr-FR_nk0_sg.bin"),
    "it-IT": ("it-IT_ta.bin", "it-IT_cm0_sg.bin"),
}
"""Each voice's two files: text analysis, and signal generation."""

VOLUME = 50
"""Percent of Pico's own level, at which loud vowels clip. Speech is then at -14 to -17 dBFS."""

_IDLE, _BUSY = 200, 201  # PICO_STEP_IDLE, PICO_STEP_BUSY
_FULL_RESET = 0  # PICO_RESET_FULL
_MEMORY = 2_500_000  # bytes; what Pico's own programs give an engine
_NAME = 32  # PICO_MAX_RESOURCE_NAME_SIZE
_MESSAGE = 200  # PICO_RETSTRINGSIZE
_BUFFER = 4096  # bytes that one step may give
_LONGEST = 32767  # bytes that one call takes
# Samples of the first stretch, so that it is out at once, then of each later one.
_FIRST, _LATER = RATE // 50, RATE // 4
_IDLE_ENGINES = 4

_MARKUP = re.compile(r"[<>\x00-\x1f\x7f]+")


class Speaker(Protocol):
    """Speaks texts in one of `VOICES`, a stretch at a time. Serves many threads at once."""

    def speak(self, text: str, voice: str) -> Iterator[bytes]:
        """The audio of a text, 16 kHz linear16. It may be closed at any stretch."""


def speaker() -> Speaker:
    """The best way to Pico that is installed.

    Raises:
        ImportError: ``py-nanotts`` is not installed, or has no library for this machine.
    """
    import py_nanotts
    from py_nanotts import _nanotts

    try:
        functions = _Functions(ctypes.CDLL(_nanotts.__file__))
    except AttributeError:
        return WholeTexts(py_nanotts.NanoTTS().speak)
    return Stretches(functions, Path(py_nanotts.__file__).parent / "lang")


def spoken_form(text: str) -> str:
    """The text without what Pico takes for its own markup, which can name files to be played."""
    return _MARKUP.sub(" ", text).strip()


class Stretches:
    """Pico through its own functions.

    A text has an engine to itself while it is spoken; some are kept for the texts that follow. An
    engine is reset before each text, so that nothing is left in it of one that was given up.
    """

    def __init__(self, functions: _Functions, folder: Path) -> None:
        self._functions = functions
        self._folder = folder
        self._idle: dict[str, deque[_Engine]] = {
            voice: deque(maxlen=_IDLE_ENGINES) for voice in VOICES
        }

    def speak(self, text: str, voice: str) -> Iterator[bytes]:
        """The audio of a text, as it is made.

        Raises:
            TTSError: Pico failed.
        """
        idle = self._idle[voice]
        try:
            engine = idle.pop()
        except IndexError:
            engine = _Engine(self._functions, self._folder, voice)
        try:
            yield from engine.speak(f'<volume level="{VOLUME}">{spoken_form(text)}</volume>')
        finally:
            idle.append(engine)


class WholeTexts:
    """Pico through the package's own call: a text at a time, and no other thread meanwhile."""

    def __init__(self, speak: Callable[..., bytes]) -> None:
        self._speak = speak

    def speak(self, text: str, voice: str) -> Iterator[bytes]:
        """The audio of a text, in one stretch.

        Raises:
            TTSError: Pico failed.
        """
        try:
            audio = self._speak(spoken_form(text), voice=voice, volume=VOLUME / 100)
        except RuntimeError as error:
            raise TTSError(f"Pico failed: {error}") from error
        yield audio


class _Functions:
    """Pico's functions with their types (picoapi.h).

    Raises:
        AttributeError: the library does not export them.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        handle, text, short = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int16
        out_handle, out_short = ctypes.POINTER(handle), ctypes.POINTER(short)

        def declared(name: str, *arguments: Any) -> Callable[..., int]:
            function: Any = getattr(library, f"pico_{name}")
            function.argtypes = arguments or None
            function.restype = ctypes.c_int32
            return function  # type: ignore[no-any-return]

        self.initialize = declared("initialize", handle, ctypes.c_uint32, out_handle)
        self.terminate = declared("terminate", out_handle)
        self.message = declared("getSystemStatusMessage", handle, ctypes.c_int32, text)
        self.load = declared("loadResource", handle, text, out_handle)
        self.name_of = declared("getResourceName", handle, handle, text)
        self.create_voice = declared("createVoiceDefinition", handle, text)
        self.add_to_voice = declared("addResourceToVoiceDefinition", handle, text, text)
        self.new_engine = declared("newEngine", handle, text, out_handle)
        self.dispose_engine = declared("disposeEngine", handle, out_handle)
        self.reset = declared("resetEngine", handle, ctypes.c_int32)
        self.put = declared("putTextUtf8", handle, handle, short, out_short)
        # Called some 4,000 times for a second of speech, with arguments that need no conversion.
        self.get = declared("getData")


class _Engine:
    """One voice, loaded. For one thread at a time.

    Raises:
        TTSError: the voice could not be loaded.
    """

    def __init__(self, functions: _Functions, folder: Path, voice: str) -> None:
        self._call = functions
        self._memory = ctypes.create_string_buffer(_MEMORY)
        self._system = ctypes.c_void_p()
        self._engine = ctypes.c_void_p()
        self._check(functions.initialize(self._memory, _MEMORY, ctypes.byref(self._system)))
        self._check(functions.create_voice(self._system, b"agentkit"))
        for file in VOICES[voice]:
            self._add(str(folder / file).encode())
        self._check(functions.new_engine(self._system, b"agentkit", ctypes.byref(self._engine)))
        self._size, self._kind = ctypes.c_int16(), ctypes.c_int16()
        self._buffer = ctypes.create_string_buffer(_BUFFER)
        self._made = memoryview(self._buffer).cast("B")
        self._step = (
            self._engine,
            ctypes.cast(self._buffer, ctypes.c_void_p),
            ctypes.c_int16(_BUFFER),
            ctypes.byref(self._size),
            ctypes.byref(self._kind),
        )

    def _add(self, path: bytes) -> None:
        resource = ctypes.c_void_p()
        name = ctypes.create_string_buffer(_NAME)
        self._check(self._call.load(self._system, path, ctypes.byref(resource)))
        self._check(self._call.name_of(self._system, resource, name))
        self._check(self._call.add_to_voice(self._system, b"agentkit", name))

    def __del__(self) -> None:
        # Pico allocates in its memory area only; this closes the two files it may have open.
        if self._engine.value is not None:
            self._call.dispose_engine(self._system, ctypes.byref(self._engine))
        if self._system.value is not None:
            self._call.terminate(ctypes.byref(self._system))

    def speak(self, text: str) -> Iterator[bytes]:
        self._check(self._call.reset(self._engine, _FULL_RESET))
        data = ctypes.create_string_buffer(text.encode("utf-8", "replace"))  # its NUL ends the text
        at, wanted = 0, 2 * _FIRST
        made = bytearray()
        while at < len(data):
            size = min(len(data) - at, _LONGEST)
            where = ctypes.addressof(data) + at
            self._check(self._call.put(self._engine, where, size, ctypes.byref(self._size)))
            at += self._size.value
            while True:
                status = self._call.get(*self._step)
                if self._size.value:
                    made += self._made[: self._size.value]
                    if len(made) >= wanted:
                        yield bytes(made)
                        made.clear()
                        wanted = 2 * _LATER
                if status != _BUSY:
                    break
            if status != _IDLE:
                self._check(status)
        yield bytes(made)

    def _check(self, status: int) -> None:
        if status == 0:
            return
        message = ctypes.create_string_buffer(_MESSAGE)
        if self._system.value is not None:
            self._call.message(self._system, status, message)
        said = message.value.decode("latin-1") or "no message"
        raise TTSError(f"Pico failed with status {status}: {said}")
