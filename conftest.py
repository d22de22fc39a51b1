"""What every test starts from, those of the plugins too."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def _log_as_it_was() -> Iterator[None]:
    """A command that is tested sets the log up; the next test finds it as it comes."""
    yield
    structlog.reset_defaults()
