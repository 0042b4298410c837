"""How a command reaches the region: its settings and the keys to act with."""

from __future__ import annotations

import os
from dataclasses import dataclass

from twinplane.cli.output import CommandError
from twinplane.region.data_directory import DataDirectory
from twinplane.region.settings import BadSettings, Settings


@dataclass(frozen=True, slots=True)
class RegionAccess:
    directory: DataDirectory
    settings: Settings
    access_key_id: str
    secret_access_key: str
    session_token: str = ""


def region_access(data_dir: str | None) -> RegionAccess:
    """The region of the data directory, acting as whoever the environment's keys are, else as its administrator.

    The environment counts only when it is set for this region (AWS_ENDPOINT_URL), so that keys of a real account are
    never sent here by mistake.
    """
    directory = DataDirectory.locate(data_dir)
    try:
        settings = Settings.load(directory.settings)
    except BadSettings as error:
        raise CommandError(str(error)) from error
    if settings is None or not settings.access_key_id:
        raise CommandError(f"there is no region in {directory.root}: start one with `twinplane up`")
    environment = os.environ
    if environment.get("AWS_ENDPOINT_URL", "").rstrip("/") == settings.endpoint_url and (
        key := environment.get("AWS_ACCESS_KEY_ID")
    ):
        secret = environment.get("AWS_SECRET_ACCESS_KEY", "")
        return RegionAccess(directory, settings, key, secret, environment.get("AWS_SESSION_TOKEN", ""))
    return RegionAccess(directory, settings, settings.access_key_id, settings.secret_access_key)
