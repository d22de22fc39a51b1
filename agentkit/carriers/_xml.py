"""The XML documents that Twilio, SignalWire, Telnyx and Plivo are answered with.

Built as trees, so that no text that comes from outside can become markup.
"""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree import ElementTree

from agentkit.carriers.documents import Document
from agentkit.errors import ConfigError


def connect_stream(
    attributes: Mapping[str, str], parameters: Mapping[str, str], *, most: int | None = None
) -> Document:
    """``<Connect><Stream>`` with a ``<Parameter>`` for each of ``parameters``.

    Args:
        attributes: of the ``<Stream>``.
        parameters: text by name.
        most: characters that a parameter's name and value may have together.

    Raises:
        ConfigError: a parameter cannot be sent. No value shows in its text.
    """
    response = ElementTree.Element("Response")
    stream = ElementTree.SubElement(
        ElementTree.SubElement(response, "Connect"), "Stream", dict(attributes)
    )
    for name, value in parameters.items():
        check_parameter(name, value)
        if most is not None and len(name) + len(value) > most:
            raise ConfigError(
                f"parameters[{name[:40]!r}]",
                f"its name and value may have at most {most} characters together; "
                "send an id, and look the rest up by it",
            )
        ElementTree.SubElement(stream, "Parameter", {"name": name, "value": value})
    return write_xml(response)


def refuse_call(sentence: str, *, say: str = "Say", reject: str = "Reject") -> Document:
    """Say a sentence and hang up; without one, let the caller hear that we are busy.

    Args:
        sentence: what is said; "" says nothing. What XML has no place for is left out.
        say: the verb that speaks.
        reject: the verb that rejects a call for a ``reason``.
    """
    response = ElementTree.Element("Response")
    if spoken := "".join(c if _in_xml(c) else " " for c in sentence).strip():
        ElementTree.SubElement(response, say).text = spoken
        ElementTree.SubElement(response, "Hangup")
    else:
        ElementTree.SubElement(response, reject, {"reason": "busy"})
    return write_xml(response)


def without_query(url: str, carrier: str) -> str:
    """The URL, which has no query: these carriers fail the call for one, or strip it.

    Raises:
        ConfigError: it has one. Neither shows in its text.
    """
    if "?" in url:
        raise ConfigError(
            "url", f"{carrier} opens no media socket with a query string; send a parameter instead"
        )
    return url


def check_parameter(name: str, value: str) -> None:
    """Raises ConfigError for a parameter that no XML document can hold; shows no value."""
    if not name:
        raise ConfigError("parameters", "each needs a name")
    if not all(map(_in_xml, name + value)):
        raise ConfigError(
            f"parameters[{name[:40]!r}]", "holds a control character, which no XML document can"
        )


def write_xml(response: ElementTree.Element) -> Document:
    """The document that a carrier's webhook is answered with."""
    body = ElementTree.tostring(response, encoding="unicode")
    return Document("text/xml", f'<?xml version="1.0" encoding="UTF-8"?>{body}')


def _in_xml(character: str) -> bool:
    """Whether XML 1.0 has a place for it (section 2.2, ``Char``)."""
    code = ord(character)
    return (
        code in (0x9, 0xA, 0xD)
        or 0x20 <= code <= 0xD7FF
        or 0xE000 <= code <= 0xFFFD
        or code >= 0x10000
    )
