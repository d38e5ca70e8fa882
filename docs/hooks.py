"""mkdocs' hooks: pages from elsewhere in the repository, links as GitHub has them, and a look at what was built."""

from __future__ import annotations

import logging
import posixpath
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]

#: Pages of the site that lie elsewhere in the repository, where people who look there want them.
ELSEWHERE = {
    "data-plane.md": "cachecore_ext/README.md",
    "howto/examples.md": "examples/README.md",
    "howto/contrib.md": "contrib/README.md",
    "performance/bench.md": "bench/README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
}

#: Files that the site has another page for.
INSTEAD = {"README.md": "index.md"}

_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")
_FOREIGN = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)
_SHEET_LOADS = re.compile(r"(?:url\(|@import\s+)[\"']?((?:https?:)?//[^\"')\s]+)")
_log = logging.getLogger("mkdocs.hooks.site")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of ``ELSEWHERE``."""
    from mkdocs.structure.files import File

    for page, source in ELSEWHERE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Let links that hold in the repository hold in the site."""
    return relinked(markdown, page.file.src_uri)


def on_post_build(config: MkDocsConfig) -> None:
    """Warn of what is wrong with the site, which ends a strict build."""
    for complaint in complaints(Path(config.site_dir)):
        _log.warning(complaint)


def relinked(markdown: str, page: str) -> str:
    """A page's text with its links into the repository led to the site's pages, or, where it has none, to the name."""
    source = ELSEWHERE.get(page, f"docs/{page}")
    pages = {there: here for here, there in ELSEWHERE.items()} | INSTEAD

    def link(match: re.Match[str]) -> str:
        text, target = match.groups()
        name, sign, anchor = target.partition("#")
        if not name or _FOREIGN.match(name):
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), name))
        here = path.removeprefix("docs/") if path.startswith("docs/") else pages.get(path)
        if here is not None:
            return f"[{text}]({posixpath.relpath(here, posixpath.dirname(page) or '.')}{sign}{anchor})"
        if not (ROOT / path).exists():
            return match[0]  # which mkdocs complains of
        return f"`{path}`" if path.endswith(text.strip("`/")) else f"{text} (`{path}`)"

    return _LINK.sub(link, markdown)


class _Page(HTMLParser):
    """What a page has and wants."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []  # what one may go to
        self.parts: list[str] = []  # what a browser loads by itself
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value for name, value in attrs if value}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag == "link" and values.get("rel") in ("stylesheet", "icon", "preload", "preconnect", "modulepreload"):
            self.parts.append(values.get("href", ""))
        elif tag in ("script", "img", "iframe", "source", "audio", "video", "object", "embed"):
            self.parts += [values[name] for name in ("src", "data") if name in values]


def complaints(site: Path) -> Iterator[str]:
    """Dead links and anchors, pages that no link leads to, and whatever would be loaded from another host.

    404.html is left out: it is shown at any address, so its links begin at the host's root.
    """
    files = sorted(path for path in site.rglob("*.html") if path.name != "404.html")
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in files}
    led_to: dict[Path, set[Path]] = {path: set() for path in pages}
    for path, page in pages.items():
        name = path.relative_to(site)
        for target in page.links + page.parts:
            if _FOREIGN.match(target):
                if target in page.parts and not target.startswith("data:"):
                    yield f"{name}: loads {target} from another host"
                continue
            file, _, anchor = unquote(target.partition("?")[0]).partition("#")
            there = (path.parent / file).resolve() if file else path
            if not there.is_file():
                yield f"{name}: {target} is not there"
            elif there in pages:
                led_to[path].add(there)
                if anchor and anchor not in pages[there].anchors:
                    yield f"{name}: {target} has no such anchor"
    for sheet in sorted(site.rglob("*.css")):
        for url in _SHEET_LOADS.findall(sheet.read_text(encoding="utf-8")):
            yield f"{sheet.relative_to(site)}: loads {url} from another host"
    reached: set[Path] = set()
    ahead = [site / "index.html"]
    while ahead:
        path = ahead.pop()
        if path not in reached:
            reached.add(path)
            ahead += led_to.get(path, ())
    for path in sorted(pages.keys() - reached):
        yield f"{path.relative_to(site)}: no link leads there"
