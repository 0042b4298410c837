"""Links in pages that come through the proxy subresources: what points at the target's root stays below the proxy.

`proxy` calls it for answers of text/html. A page goes through piece by piece: only links change, all other bytes stay.
Source of tags and attributes: `atomsToAttrs` of k8s.io/apimachinery/pkg/util/proxy.
"""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator, Callable
from html.parser import HTMLParser

_CITE, _FRAME = ("cite",), ("longdesc", "src")
_LINKS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("a", "area", "base", "link"), ("href",)),
    **dict.fromkeys(("audio", "embed", "script", "source"), ("src",)),
    **dict.fromkeys(("blockquote", "del", "ins", "q"), _CITE),
    **dict.fromkeys(("frame", "iframe"), _FRAME),
    "applet": ("codebase",),
    "body": ("background",),
    "button": ("formaction",),
    "command": ("icon",),
    "form": ("action",),
    "head": ("profile",),
    "html": ("manifest",),
    "img": (*_FRAME, "usemap"),
    "input": ("src", "usemap", "formaction"),
    "object": ("classid", "codebase", "data", "usemap"),
    "video": ("poster", "src"),
}
_ATTRIBUTE = re.compile(r"""(?<=[\s"'/])([a-zA-Z]+)(\s*=\s*)("[^"]*"|'[^']*'|[^\s"'>]+)""")

Move = Callable[[str], str]
"""A link of the target -> the same through the proxy."""


async def moved(pieces: AsyncIterator[bytes], move: Move) -> AsyncIterator[bytes]:
    """The page with its links moved. Markup is ASCII in every encoding that pages have, so bytes pass as Latin-1."""
    page = _Page(move)
    async for piece in pieces:
        page.feed(piece.decode("latin-1"))
        if text := page.taken():
            yield text
    page.close()
    if text := page.taken():
        yield text


class _Page(HTMLParser):
    def __init__(self, move: Move) -> None:
        super().__init__(convert_charrefs=False)
        self._move = move
        self._text: list[str] = []

    def taken(self) -> bytes:
        text = "".join(self._text)
        self._text.clear()
        return text.encode("latin-1")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        text = self.get_starttag_text() or ""
        wanted = _LINKS.get(tag, ())
        self._text.append(_ATTRIBUTE.sub(lambda found: self._attribute(found, wanted), text) if wanted else text)

    handle_startendtag = handle_starttag

    def _attribute(self, found: re.Match[str], wanted: tuple[str, ...]) -> str:
        name, sign, value = found.groups()
        if name.lower() not in wanted:
            return found[0]
        quote = value[0] if value[0] in "\"'" else ""
        link = html.unescape(value.strip(quote) if quote else value)
        there = self._move(link)
        return found[0] if there == link else f"{name}{sign}{quote or chr(34)}{html.escape(there)}{quote or chr(34)}"

    def handle_endtag(self, tag: str) -> None:
        self._text.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        self._text.append(data)

    def handle_entityref(self, name: str) -> None:
        self._text.append(f"&{name};")

    def handle_charref(self, name: str) -> None:
        self._text.append(f"&#{name};")

    def handle_comment(self, data: str) -> None:
        self._text.append(f"<!--{data}-->")

    def handle_decl(self, decl: str) -> None:
        self._text.append(f"<!{decl}>")

    def unknown_decl(self, data: str) -> None:
        self._text.append(f"<![{data}]>")

    def handle_pi(self, data: str) -> None:
        self._text.append(f"<?{data}>")
