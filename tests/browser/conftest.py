"""One Chromium for all of these tests; each has pages of its own, which must not complain.

`make test-page` installs it and runs them; a plain `pytest` leaves them out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from tests import devtools
from tests.devtools import Browser, Page

Open = Callable[[str], Awaitable[Page]]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    if devtools.program() is None:
        pytest.fail("There is no Chromium: make test-page", pytrace=False)
    async with devtools.browser(tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def visit(browser: Browser) -> AsyncIterator[Open]:
    """Opens an address in a page. At the end no page may have complained of anything."""
    pages: list[Page] = []

    async def visit_(url: str) -> Page:
        pages.append(page := await browser.new())
        await page.goto(url)
        return page

    yield visit_
    complaints = [complaint for page in pages for complaint in page.complaints]
    for page in pages:
        await page.close()
    assert complaints == []
