"""How containers end on real nodes, and what the API says of it: jobs, crashes, signals, messages, images."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest

from tests.nodes.space import Space
from tests.region_process import eventually

STATUS = ".status.containerStatuses[0]"


@pytest.fixture(scope="module", autouse=True)
def running(space: Space) -> None:
    space.apply("ends.yaml")


def terminated(space: Space, pod: str) -> dict[str, Any]:
    space.kubectl("wait", f"pod/{pod}", f"--for=jsonpath={{{STATUS}.state.terminated}}", "--timeout=180s")
    found: dict[str, Any] = space.get("pod", pod)["status"]["containerStatuses"][0]["state"]["terminated"]
    return found


def test_a_job_completes(space: Space) -> None:
    space.kubectl("wait", "--for=condition=Complete", "job/three", "--timeout=180s")
    job = space.get("job", "three")["status"]
    assert job["succeeded"] == 3
    assert "failed" not in job


def test_a_cron_job_s_job_runs_and_its_log_is_kept(space: Space) -> None:
    space.kubectl("create", "job", "now", "--from=cronjob/nightly")
    space.kubectl("wait", "--for=condition=Complete", "job/now", "--timeout=180s")
    assert space.kubectl("logs", "job/now") == "tick\n"


def test_a_container_over_its_memory_limit_is_oom_killed(space: Space) -> None:
    ended = terminated(space, "greedy")
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)
    assert space.field("pod/greedy", ".status.phase") == "Failed"


def test_a_termination_message_from_its_file_or_the_log(space: Space) -> None:
    ended = terminated(space, "told-by-log")
    assert (ended["exitCode"], ended["reason"], ended["message"]) == (1, "Error", "from the log\n")
    space.kubectl("wait", "pod/crashing", f"--for=jsonpath={{{STATUS}.lastState.terminated}}", "--timeout=180s")
    last = space.get("pod", "crashing")["status"]["containerStatuses"][0]["lastState"]["terminated"]
    assert (last["exitCode"], last["message"]) == (7, "last words\n")


def test_a_crashing_container_backs_off(space: Space) -> None:
    text = r"CrashLoopBackOff back-off \d+s restarting failed container=main pod=crashing_" + space.name
    path = f"{STATUS}.state.waiting['reason','message']"
    eventually(lambda: re.match(text, space.field("pod/crashing", path)), "it waits")
    assert space.events("crashing", f"Back-off restarting failed container main in pod crashing_{space.name}")
    assert space.kubectl("logs", "crashing", "--previous") == "run\n"


def test_an_image_that_is_not_there(space: Space) -> None:
    space.until("pod/no-image", f"{STATUS}.state.waiting.reason", "ImagePullBackOff")
    message = space.field("pod/no-image", f"{STATUS}.state.waiting.message")
    assert message.startswith('Back-off pulling image "nowhere.invalid/none:1": ErrImagePull: ')
    assert 'failed to resolve reference "nowhere.invalid/none:1"' in message


def test_a_program_that_is_not_there(space: Space) -> None:
    ended = terminated(space, "no-program")
    assert (ended["reason"], ended["exitCode"]) == ("StartError", 128)
    assert 'exec: "/no/such/program"' in ended["message"]


def test_a_config_map_that_is_not_there_yet(space: Space) -> None:
    space.until("pod/no-config", f"{STATUS}.state.waiting.reason", "CreateContainerConfigError")
    assert space.field("pod/no-config", f"{STATUS}.state.waiting.message") == 'configmap "absent" not found'
    space.kubectl("create", "configmap", "absent")
    space.until("pod/no-config", ".status.phase", "Running")


def test_a_pod_is_asked_before_it_is_told_to_end(space: Space) -> None:
    space.ready("polite")
    follow = ("kubectl", "-n", space.name, "logs", "-f", "polite")
    environment = space.region.environment
    with subprocess.Popen(follow, stdout=subprocess.PIPE, text=True, env=environment) as log:
        assert log.stdout is not None
        assert log.stdout.readline() == "up\n"
        space.kubectl("delete", "pod", "polite", "--timeout=180s")
        assert log.communicate(timeout=60)[0].split() == ["prestop", "term"]


def test_a_pod_that_does_not_listen_is_killed_after_its_grace_period(space: Space) -> None:
    space.ready("deaf")
    space.kubectl("delete", "pod", "deaf", "--timeout=180s")
    assert space.attempt("get", "pod", "deaf").returncode == 1


def test_a_forced_deletion_ends_the_processes_too(space: Space) -> None:
    space.ready("unwanted")
    assert processes("sleep 98765")
    space.kubectl("delete", "pod", "unwanted", "--grace-period=0", "--force")
    assert space.attempt("get", "pod", "unwanted").returncode == 1
    eventually(lambda: not processes("sleep 98765"), "the process is gone")


def processes(command: str) -> list[str]:
    """On the host, which sees those of all machines."""
    return subprocess.run(["pgrep", "-xf", command], capture_output=True, text=True, check=False).stdout.split()


def test_a_job_gives_up_at_its_backoff_limit(space: Space) -> None:
    space.kubectl("wait", "--for=condition=Failed", "job/fails", "--timeout=180s")
    condition = next(c for c in space.get("job", "fails")["status"]["conditions"] if c["type"] == "Failed")
    assert condition["reason"] == "BackoffLimitExceeded"
