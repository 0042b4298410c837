"""Errors of the EKS API: a code, EKS's text, the HTTP status, and the extra members that some of them carry."""

from __future__ import annotations

_STATUS = {
    "InvalidParameterException": 400,
    "InvalidRequestException": 400,
    "ClientException": 400,
    "SerializationException": 400,
    "BadRequestException": 400,
    "AccessDeniedException": 403,
    "ResourceNotFoundException": 404,
    "UnknownOperationException": 404,
    "NotFoundException": 404,
    "InvalidTokenException": 400,
    "ExpiredTokenException": 400,
    "ResourceInUseException": 409,
    "ResourceLimitExceededException": 400,
    "ServerException": 500,
}


class EksError(Exception):
    def __init__(self, code: str, message: str, **members: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.members = members

    @property
    def status(self) -> int:
        return _STATUS[self.code]


def invalid_parameter(message: str, **members: str) -> EksError:
    return EksError("InvalidParameterException", message, **members)


def invalid_request(message: str, **members: str) -> EksError:
    return EksError("InvalidRequestException", message, **members)


def in_use(message: str, **members: str) -> EksError:
    return EksError("ResourceInUseException", message, **members)


def not_found(message: str, **members: str) -> EksError:
    return EksError("ResourceNotFoundException", message, **members)


def no_cluster(name: str) -> EksError:
    return not_found(f"No cluster found for name: {name}.", clusterName=name)


def no_nodegroup(cluster: str, name: str) -> EksError:
    return not_found(f"No node group found for name: {name}.", clusterName=cluster, nodegroupName=name)


def no_update(identifier: str) -> EksError:
    return not_found(f"No update found for ID: {identifier}")
