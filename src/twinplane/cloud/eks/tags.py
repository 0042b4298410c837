"""Tags of EKS resources, by ARN."""

from __future__ import annotations

from twinplane.cloud.eks.call import Call, Context, Operation
from twinplane.cloud.eks.errors import EksError
from twinplane.cloud.eks.state import Key, Record

TAGS_MAX = 50
_ARN_MEMBERS = {
    "cluster": "arn",
    "nodegroup": "nodegroupArn",
    "access": "accessEntryArn",
    "podidentity": "associationArn",
}


class Tags:
    def __init__(self, context: Context) -> None:
        self._context = context

    def operations(self) -> dict[str, Operation]:
        return {"TagResource": self._tag, "UntagResource": self._untag, "ListTagsForResource": self._list}

    async def _tag(self, call: Call) -> Record:
        kind, key, record = self._find(call["resourceArn"])
        tags = record["tags"] | call["tags"]
        check(tags)
        record["tags"] = tags
        self._context.state.put(kind, key, record)
        return {}

    async def _untag(self, call: Call) -> Record:
        kind, key, record = self._find(call["resourceArn"])
        record["tags"] = {name: value for name, value in record["tags"].items() if name not in call["tagKeys"]}
        self._context.state.put(kind, key, record)
        return {}

    async def _list(self, call: Call) -> Record:
        _, _, record = self._find(call["resourceArn"])
        return {"tags": dict(record["tags"])}

    def _find(self, arn: str) -> tuple[str, Key, Record]:
        for kind, member in _ARN_MEMBERS.items():
            for key, record in self._context.state.below(kind):
                if record[member] == arn:
                    return kind, key, record
        parts = arn.split(":", 5)
        if len(parts) != 6 or parts[2] != "eks":
            raise EksError("BadRequestException", f"Invalid resource ARN: {arn}")
        raise EksError("NotFoundException", f"No resource found for ARN: {arn}")


def check(tags: dict[str, str]) -> None:
    """Raises BadRequestException for what no AWS resource may be tagged with."""
    if len(tags) > TAGS_MAX:
        raise EksError("BadRequestException", f"Tag count exceeds the limit of {TAGS_MAX} tags per resource")
    for key in tags:
        if key.lower().startswith("aws:"):
            raise EksError("BadRequestException", "Tag keys must not start with the reserved prefix aws:")
