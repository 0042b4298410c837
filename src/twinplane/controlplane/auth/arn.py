"""Amazon Resource Names as the IAM authenticator reads them.

`iam_mapping` and `access_entries` compare principals by their canonical ARN: that of the role or user, whatever session
of it asks. The rules are those of aws-iam-authenticator's `pkg/arn`.
"""

from __future__ import annotations

from typing import NamedTuple

PARTITIONS = frozenset(("aws", "aws-cn", "aws-us-gov", "aws-iso", "aws-iso-b", "aws-iso-e", "aws-iso-f", "aws-eusc"))


class Arn(NamedTuple):
    partition: str
    service: str
    region: str
    account_id: str
    resource: str

    def __str__(self) -> str:
        return ":".join(("arn", *self))


def parse(text: str) -> Arn:
    """Raises ValueError for what is no ARN."""
    parts = text.split(":", 5)
    if len(parts) != 6 or parts[0] != "arn":
        raise ValueError(f"arn: not an ARN: {text!r}")
    return Arn(*parts[1:])


def canonical(text: str) -> str:
    """The IAM role behind `arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION`; users, roles and root stay as they are.

    Raises ValueError for other kinds of principal.
    """
    arn = parse(text)
    if arn.partition not in PARTITIONS:
        raise ValueError(f"arn {text!r}: not in a known partition")
    kind, *names = arn.resource.split("/")
    if arn.service == "sts":
        if kind == "federated-user":
            return text
        if kind == "assumed-role" and len(names) >= 2:
            return str(arn._replace(service="iam", resource="/".join(("role", *names[:-1]))))
        raise ValueError(f"unrecognized resource {arn.resource!r} for service sts")
    if arn.service == "iam" and kind in ("role", "user", "root"):
        return text
    raise ValueError(f"service {arn.service} in arn {text!r} is not a valid service for identities")


def without_path(text: str) -> str:
    """`arn:aws:iam::1:role/team/x/NAME` -> `...:role/NAME`: a session's ARN does not tell the role's path."""
    head, slash, _ = text.partition("/")
    return f"{head}/{text.rpartition('/')[2]}" if slash else text
