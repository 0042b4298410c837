"""Links of pages that come through a proxy."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest

from twinplane.controlplane.api.streams.links import moved


async def through(pieces: Sequence[bytes]) -> bytes:
    async def page() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    found = [piece async for piece in moved(page(), lambda link: f"/below{link}" if link.startswith("/") else link)]
    return b"".join(found)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (b'<a href="/x">test</a>', b'<a href="/below/x">test</a>'),
        (b"<A HREF='/x?a=1&amp;b=2'>", b"<A HREF='/below/x?a=1&amp;b=2'>"),
        (b"<img alt=/x src=/y/>", b'<img alt=/x src="/below/y/">'),
        (b'<a title="/x" href="y">', b'<a title="/x" href="y">'),
        (b'<p href="/x">', b'<p href="/x">'),
        (b'<script src="/s.js">let a = "<a href=\'/x\'>" && b</script>', None),
        (b"<!DOCTYPE html><!-- /x --><p>a &lt; b &#233; \xc3\xa9 \xff</p><br/>", None),
    ],
)
async def test_links_move_and_nothing_else_changes(given: bytes, expected: bytes | None) -> None:
    wanted = expected if expected is not None else given.replace(b'src="/s.js"', b'src="/below/s.js"')
    assert await through([given]) == wanted


async def test_a_tag_may_come_in_pieces() -> None:
    assert await through([b"a<a hr", b'ef="/', b'x">b', b"</a>"]) == b'a<a href="/below/x">b</a>'
