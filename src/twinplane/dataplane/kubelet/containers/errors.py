"""Why a container does not start, as its waiting state shows it."""

from __future__ import annotations


class ContainerRefused(Exception):
    """`reason` is upstream's: CreateContainerConfigError, CreateContainerError, RunContainerError, ErrImagePull, ..."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def config_error(message: str) -> ContainerRefused:
    return ContainerRefused("CreateContainerConfigError", message)
