"""Kubeconfig entries: merged, never clobbered; the token that they call for."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from twinplane.cli import kubeconfig
from twinplane.cli.main import main
from twinplane.cli.output import CommandError
from twinplane.cli.region_access import RegionAccess, region_access
from twinplane.cli.token import access_token, exec_credential
from twinplane.region.data_directory import DataDirectory
from twinplane.region.settings import Settings

CLUSTER = {"name": "demo", "endpoint": "https://127.0.0.1:6443", "certificateAuthority": {"data": "Q0E="}}
OTHER: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "mine",
    "clusters": [{"name": "mine", "cluster": {"server": "https://elsewhere"}}],
    "contexts": [{"name": "mine", "context": {"cluster": "mine", "user": "me"}}],
    "users": [{"name": "me", "user": {"token": "t"}}],
}


@pytest.fixture
def directory(tmp_path: Path) -> DataDirectory:
    directory = DataDirectory(tmp_path / "region")
    directory.create()
    return directory


@pytest.fixture
def access(directory: DataDirectory) -> RegionAccess:
    settings = Settings(access_key_id="AKIDEXAMPLE", secret_access_key="secret")
    settings.save(directory.settings)
    return RegionAccess(directory, settings, "AKIDEXAMPLE", "secret")


def test_entry_is_added_beside_others_and_made_current(tmp_path: Path, directory: DataDirectory) -> None:
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(OTHER))
    kubeconfig.write([path, directory.kubeconfig], CLUSTER, "admin", directory, "us-west-2")
    written = yaml.safe_load(path.read_text())
    assert [entry["name"] for entry in written["clusters"]] == ["mine", "demo.us-west-2.eksctl.io"]
    assert written["current-context"] == "admin@demo.us-west-2.eksctl.io"
    assert yaml.safe_load(directory.kubeconfig.read_text())["current-context"] == written["current-context"]


def test_writing_twice_leaves_one_entry_and_removing_leaves_the_others(
    tmp_path: Path, directory: DataDirectory
) -> None:
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(OTHER))
    for _ in range(2):
        kubeconfig.write([path], CLUSTER, "admin", directory, "us-west-2")
    assert len(yaml.safe_load(path.read_text())["users"]) == 2
    kubeconfig.remove([path, tmp_path / "absent"], "demo", "us-west-2")
    left = yaml.safe_load(path.read_text())
    assert left["clusters"] == OTHER["clusters"]
    assert left["users"] == OTHER["users"]
    assert left["current-context"] == ""


def test_a_file_that_is_no_kubeconfig_is_left_alone(tmp_path: Path, directory: DataDirectory) -> None:
    path = tmp_path / "config"
    path.write_text("- a list\n")
    with pytest.raises(CommandError, match="is not a kubeconfig"):
        kubeconfig.write([path], CLUSTER, "admin", directory, "us-west-2")
    assert path.read_text() == "- a list\n"


def test_token_is_the_url_that_botocore_would_sign(access: RegionAccess, monkeypatch: pytest.MonkeyPatch) -> None:
    """The few lines of our own against the reference implementation, at one moment."""
    import datetime

    import botocore.auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    now = 1_800_000_000.0
    moment = datetime.datetime.fromtimestamp(now, datetime.UTC)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_, **__: moment.replace(tzinfo=None))
    signer = botocore.auth.SigV4QueryAuth(Credentials("AKIDEXAMPLE", "secret"), "sts", "us-west-2", expires=60)
    url = "http://127.0.0.1:4566/?Action=GetCallerIdentity&Version=2011-06-15"
    request = AWSRequest("GET", url, headers={"x-k8s-aws-id": "demo"})
    signer.add_auth(request)
    token = access_token(access, "demo", now).removeprefix("k8s-aws-v1.")
    ours = parse_qs(urlsplit(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()).query)
    assert ours == parse_qs(urlsplit(request.url).query)


def test_exec_credential_has_the_form_kubectl_wants(access: RegionAccess) -> None:
    credential = json.loads(exec_credential(access, "demo", 1_800_000_000.0))
    assert credential["apiVersion"] == "client.authentication.k8s.io/v1beta1"
    token = credential["status"]["token"]
    assert token.startswith("k8s-aws-v1.")
    assert "=" not in token
    encoded = token.removeprefix("k8s-aws-v1.")
    assert base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).startswith(b"http://127.0.0.1:4566/?Action")


def test_keys_of_the_environment_count_only_for_this_region(
    access: RegionAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAREAL")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "real")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    assert region_access(str(access.directory.root)).access_key_id == "AKIDEXAMPLE"
    monkeypatch.setenv("AWS_ENDPOINT_URL", access.settings.endpoint_url)
    assert region_access(str(access.directory.root)).access_key_id == "AKIAREAL"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["flurb"], 'Error: unknown command "flurb"; see `twinplane --help`'),
        (
            ["create"],
            "Error: `twinplane create` needs one of: cluster, nodegroup, iamserviceaccount, podidentityassociation",
        ),
        (
            ["create", "addon"],
            (
                'Error: unknown command "create addon"; `twinplane create` takes cluster, nodegroup, '
                "iamserviceaccount, podidentityassociation"
            ),
        ),
        (["up", "--bogus"], "Error: unknown flag or argument: --bogus; see `twinplane up --help`"),
        (["up", "--port", "x"], "Error: argument --port: invalid int value: 'x'; see `twinplane up --help`"),
        (["up", "--port", "70000"], "Error: --port must be between 1 and 65535, got 70000"),
        (["get", "clusters"], "Error: there is no region in {home}: start one with `twinplane up`"),
        (["token"], "Error: the following arguments are required: --cluster; see `twinplane token --help`"),
    ],
)
def test_mistakes_get_one_sentence_and_a_status(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TWINPLANE_HOME", str(tmp_path / "none"))
    assert main(arguments) == 1
    assert capsys.readouterr().err.strip() == sentence.format(home=tmp_path / "none")
