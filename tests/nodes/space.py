"""A namespace of a cluster, as kubectl sees it: what tests of workloads say again and again, said once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from tests.region_process import RegionProcess, eventually

MANIFESTS = Path(__file__).parent / "manifests"


@dataclass(frozen=True)
class Space:
    region: RegionProcess
    name: str

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        return self.region.kubectl("-n", self.name, *arguments, stdin=stdin)

    def attempt(self, *arguments: str, stdin: str = "") -> CompletedProcess[str]:
        return self.region.attempt("kubectl", "-n", self.name, *arguments, stdin=stdin)

    def apply(self, manifest: str) -> None:
        self.kubectl("apply", "-f", str(MANIFESTS / manifest))

    def get(self, *arguments: str) -> Any:
        return self.region.get("-n", self.name, *arguments)

    def field(self, of: str, path: str) -> str:
        """By JSONPath, without its braces; empty where there is none."""
        return self.kubectl("get", of, "-o", f"jsonpath={{{path}}}")

    def until(self, of: str, path: str, value: str, seconds: int = 180) -> None:
        self.kubectl("wait", of, f"--for=jsonpath={{{path}}}={value}", f"--timeout={seconds}s")

    def ready(self, *pods: str) -> None:
        self.kubectl("wait", "--for=condition=Ready", *(f"pod/{pod}" for pod in pods), "--timeout=180s")

    def rolled_out(self, *workloads: str) -> None:
        for workload in workloads:
            self.kubectl("rollout", "status", workload, "--timeout=180s")

    def run(self, target: str, *command: str) -> str:
        """In a container: POD or POD/CONTAINER, or kind/name."""
        return self.kubectl("exec", target, "--", *command)

    def fetch(self, client: str, url: str) -> str:
        """Status and body of what curl in a pod gets; status 000 where nothing answers."""
        command = ("curl", "-sS", "-m", "10", "-w", "\n%{http_code}", url)
        body, _, status = self.attempt("exec", client, "--", *command).stdout.rpartition("\n")
        return f"{status} {body.strip()}"

    def events(self, of: str, text: str) -> list[str]:
        """Messages about an object that have this text, once there are any."""

        def found() -> list[str]:
            items = self.get("events", "--field-selector", f"involvedObject.name={of}")["items"]
            return [item["message"] for item in items if text in item["message"]]

        messages: list[str] = eventually(found, f"an event of {of}: {text}")
        return messages
