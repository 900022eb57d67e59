"""Hooks of mkdocs: pages that live at the root of the repository, and links from pages to its files.

A page says ``[calls.py](../airflow_provider_kumo/client/calls.py)``, which works on GitHub and in an editor. In the
site such a link goes to the page of the same file: that of a root page, the reference of a module, or else a page that
shows the file. The site thus holds all that it speaks of, and needs no address outside.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from collections.abc import Callable

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).resolve().parent.parent
DOCS = "docs"
README = "README.md"
#: Pages that people look for at the root of a repository, and where the site has them.
ROOT_PAGES = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md", "SECURITY.md": "security.md"}

_FENCE = re.compile(r"^([ \t]*)(`{3,}|~{3,})[^\n]*\n.*?^\1\2[ \t]*$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(\]\()([^)\s]+)(\))")
_MODULE = re.compile(r"^::: (\S+)$", re.MULTILINE)
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|#|/")
_LOADED = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*\bsrc=["']?(?:https?:)?//[^>]*>"""
    r"""|<link\b(?=[^>]*\brel=["']?(?:stylesheet|preconnect|icon))[^>]*\bhref=["']?(?:https?:)?//[^>]*>"""
)

_log = logging.getLogger("mkdocs.hooks.site")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the root and of every file that a page links to."""
    for name, uri in ROOT_PAGES.items():
        if (REPOSITORY / name).exists():
            files.append(File.generated(config, uri, content=(REPOSITORY / name).read_text()))
    for path in sorted(_linked(files)):
        uri = site_page(path)
        if uri.startswith("source/") and uri not in files.src_uris:
            files.append(File.generated(config, uri, content=_shown(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Turn links to files of the repository into links to their pages."""
    uri = page.file.src_uri
    origin = _origin(uri)

    def to_page(target: str) -> str:
        path, _, anchor = target.partition("#")
        found = _resolve(origin, path)
        if found is None or (found.startswith(f"{DOCS}/") and origin.startswith(f"{DOCS}/")):
            return target
        link = os.path.relpath(site_page(found), PurePosixPath(uri).parent)
        return f"{link}#{anchor}" if anchor and found.endswith(".md") else link

    return _with_links(markdown, to_page)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:  # noqa: ARG001
    """Say what a page would load from elsewhere; a strict build fails then."""
    for found in _LOADED.findall(output):
        _log.warning("%s loads from another host: %s", page.file.src_uri, found)
    return output


def site_page(path: str) -> str:
    """Return the page of the site that shows a file of the repository.

    :param path: the file, from the root of the repository.
    """
    if path == README:
        return "index.md"
    if path in ROOT_PAGES:
        return ROOT_PAGES[path]
    if path.startswith(f"{DOCS}/"):
        return path.removeprefix(f"{DOCS}/")
    return _references().get(path) or f"source/{path}{'' if path.endswith('.md') else '.md'}"


def _references() -> dict[str, str]:
    """Return the reference page of each module that has one to itself or is the first on it."""
    found: dict[str, str] = {}
    for page in sorted((REPOSITORY / DOCS).rglob("*.md")):
        for module in _MODULE.findall(page.read_text()):
            file = f"{module.replace('.', '/')}.py"
            if (REPOSITORY / file).exists():
                found.setdefault(file, page.relative_to(REPOSITORY / DOCS).as_posix())
    return found


def _linked(files: Files) -> set[str]:
    """Return the files of the repository that pages link to, pages shown only because of a link among them."""
    found: set[str] = set()
    todo = [_origin(file.src_uri) for file in files.documentation_pages()]
    while todo:
        origin = todo.pop()
        here: set[str] = set()

        def note(target: str, origin: str = origin, here: set[str] = here) -> str:
            path = _resolve(origin, target.partition("#")[0])
            if path is not None and not path.startswith(f"{DOCS}/"):
                here.add(path)
            return target

        _with_links((REPOSITORY / origin).read_text(), note)
        todo += [path for path in here - found if path.endswith(".md") and path != README]
        found |= here
    return found


def _origin(uri: str) -> str:
    """Return the file of the repository that a page of the site is made of."""
    for name, page in ROOT_PAGES.items():
        if uri == page:
            return name
    return uri.removeprefix("source/") if uri.startswith("source/") else f"{DOCS}/{uri}"


def _resolve(origin: str, path: str) -> str | None:
    """Return the file that a link leads to, or None if it is no file of the repository."""
    if not path or _ELSEWHERE.match(path):
        return None
    found = os.path.normpath(f"{PurePosixPath(origin).parent}/{unquote(path)}")
    return found if (REPOSITORY / found).is_file() else None


def _shown(path: str) -> str:
    text = (REPOSITORY / path).read_text()
    if path.endswith(".md"):
        return text
    language = {".py": "python", ".toml": "toml", ".yml": "yaml"}.get(PurePosixPath(path).suffix, "text")
    return f"---\nsearch:\n  exclude: true\nhide: [toc]\n---\n# `{path}`\n\n~~~~{language}\n{text}~~~~\n"


def _with_links(markdown: str, change: Callable[[str], str]) -> str:
    """Return a text with the targets of its links changed."""
    return _outside_code(markdown, lambda text: _LINK.sub(lambda link: link[1] + change(link[2]) + link[3], text))


def _outside_code(markdown: str, change: Callable[[str], str]) -> str:
    """Return a text changed where it stands outside of code blocks."""
    parts, end = [], 0
    for fence in _FENCE.finditer(markdown):
        parts += [change(markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, change(markdown[end:])])
