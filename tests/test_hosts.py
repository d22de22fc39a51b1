"""What a host's name says of where it is."""

from __future__ import annotations

import pytest

from agentkit._hosts import is_loopback


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("localhost", True),
        ("LOCALHOST", True),
        ("bot.localhost", True),
        ("::1", True),
        ("api.openai.com", False),
        ("10.0.0.1", False),
        ("localhost.example.com", False),
    ],
)
def test_what_is_on_this_machine(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
