"""DescribeClusterVersions: what `versions` knows, as the API shows it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from twinplane.cloud.eks import versions
from twinplane.cloud.eks.call import Call, Context, Operation, page
from twinplane.cloud.eks.state import Record


class ClusterVersions:
    def __init__(self, context: Context) -> None:
        self._context = context

    def operations(self) -> dict[str, Operation]:
        return {"DescribeClusterVersions": self._describe}

    async def _describe(self, call: Call) -> Record:
        shown = [_shown(entry, self._context.now()) for entry in versions.VERSIONS]
        wanted = call.get("clusterVersions")
        if wanted:
            shown = [entry for entry in shown if entry["clusterVersion"] in wanted]
        if call.get("defaultOnly"):
            shown = [entry for entry in shown if entry["defaultVersion"]]
        if call.get("clusterType", "eks") != "eks":
            shown = []
        status = call.get("versionStatus") or call.get("status", "").upper().replace("-", "_")
        if status:
            shown = [entry for entry in shown if entry["versionStatus"] == status]
        elif not call.get("includeAll"):
            shown = [entry for entry in shown if entry["versionStatus"] != "UNSUPPORTED"]
        found, more = page(shown, call)
        return {"clusterVersions": found, **more}


def _shown(entry: versions.KubernetesVersion, now: float) -> dict[str, Any]:
    status = "STANDARD_SUPPORT"
    if now >= _date(entry.standard_support_ends):
        status = "EXTENDED_SUPPORT"
    if now >= _date(entry.extended_support_ends):
        status = "UNSUPPORTED"
    return {
        "clusterVersion": entry.version,
        "clusterType": "eks",
        "defaultPlatformVersion": entry.platform_version,
        "defaultVersion": entry.version == versions.DEFAULT_VERSION,
        "releaseDate": _date(entry.released),
        "endOfStandardSupportDate": _date(entry.standard_support_ends),
        "endOfExtendedSupportDate": _date(entry.extended_support_ends),
        "status": status.lower().replace("_", "-"),
        "versionStatus": status,
        "kubernetesPatchVersion": entry.patch,
    }


def _date(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
