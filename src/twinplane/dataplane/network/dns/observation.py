"""Health, readiness and metrics over HTTP, at the ports that CoreDNS's plugins have: 8080, 8181, 9153."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

HEALTH, READY, METRICS = 8080, 8181, 9153


class Observation:
    def __init__(self, ready: Callable[[], bool]) -> None:
        self._ready = ready
        self._requests: Counter[tuple[str, str]] = Counter()
        self._responses: Counter[str] = Counter()

    def observe(self, protocol: str, type: str, code: str) -> None:
        """Called for each answer."""
        self._requests[protocol, type] += 1
        self._responses[code] += 1

    async def run(self, host: str) -> None:
        """Until cancelled. Raises OSError."""
        servers = [await asyncio.start_server(self._serve, host, port) for port in (HEALTH, READY, METRICS)]
        try:
            await asyncio.gather(*(server.serve_forever() for server in servers))
        finally:
            for server in servers:
                server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(5):
                request = await reader.readline()
                while await reader.readline() not in (b"\r\n", b"\n", b""):
                    pass
                status, body = self.answer([*request.split(), b"", b""][1].decode("latin-1"))
                head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {len(body)}"
                writer.write(f"{head}\r\nConnection: close\r\n\r\n{body}".encode())
                await writer.drain()
        except (TimeoutError, OSError, ValueError):
            return
        finally:
            writer.close()

    def answer(self, path: str) -> tuple[str, str]:
        """Status line and body of GET `path`."""
        match path:
            case "/health":
                return "200 OK", "OK"
            case "/ready" if self._ready():
                return "200 OK", "OK"
            case "/ready":
                return "503 Service Unavailable", "kubernetes"
            case "/metrics":
                return "200 OK", self.exposition()
        return "404 Not Found", "404 page not found\n"

    def exposition(self) -> str:
        """The series of CoreDNS's prometheus plugin that dashboards use."""
        lines = [
            "# HELP coredns_dns_requests_total Counter of DNS requests made per zone, protocol and family.",
            "# TYPE coredns_dns_requests_total counter",
        ]
        base = 'server="dns://:53",view="",zone="."'
        for (protocol, kind), count in sorted(self._requests.items()):
            lines.append(f'coredns_dns_requests_total{{family="1",proto="{protocol}",{base},type="{kind}"}} {count}')
        lines += [
            "# HELP coredns_dns_responses_total Counter of response status codes.",
            "# TYPE coredns_dns_responses_total counter",
        ]
        for code, count in sorted(self._responses.items()):
            lines.append(f'coredns_dns_responses_total{{plugin="",rcode="{code}",{base}}} {count}')
        return "\n".join(lines) + "\n"
