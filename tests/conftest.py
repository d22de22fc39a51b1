"""What every test starts from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def _log_as_it_was() -> Iterator[None]:
    """A command that sets the log up sends it to a standard error that is closed with its test."""
    yield
    structlog.reset_defaults()
