"""A headless Chromium of the system, driven by Playwright, which brings no browser of its own here."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from typing import TYPE_CHECKING, Final

from playwright.sync_api import sync_playwright

from dev.processes import CannotStartError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_ABSENT: Final = (
    "There is no Chromium: install it (on Debian and Ubuntu: apt-get install chromium), or name one by CHROMIUM=<path>."
)
# Root has no sandbox in a container, /dev/shm is small there, and nothing is to be fetched.
_ARGUMENTS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
)


def chromium_path() -> str:
    """Return the program to run: ``$CHROMIUM``, else the first of the usual names.

    :raises CannotStartError: if there is none.
    """
    named = os.environ.get("CHROMIUM")
    for name in [named] if named else _NAMES:
        if found := shutil.which(name):
            return found
    raise CannotStartError(_ABSENT)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Run a browser."""
    path = chromium_path()
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=path, args=_ARGUMENTS) as browser:
        yield browser


def main() -> int:
    """Tell whether there is a browser, for the Makefile."""
    try:
        chromium_path()
    except CannotStartError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
