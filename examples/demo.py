"""`make demo`: the example cluster with a small shop on it, made with the same commands that a user would type.

Nodes are real where this host can have them (root, and what `twinplane.cloud.machines.requirements` asks for), else
simulated. Each step looks first and acts only where something is missing, so that a second run is quick and changes
nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from twinplane.cloud.machines.requirements import requirements

HERE = Path(__file__).parent
CLUSTER = "shop"
NAMESPACE = "shop"
WAIT_SECONDS = 60
WEB_IMAGE = "public.ecr.aws/nginx/nginx:1.29"
API_IMAGE = "shop.example.com/api:1"


def main() -> int:
    began = time.monotonic()
    for program in ("twinplane", "kubectl"):
        if shutil.which(program) is None:
            print(f"demo: {program} is not on the PATH; run `make demo`", file=sys.stderr)
            return 1
    os.environ.setdefault("TWINPLANE_HOME", str(Path("~/.local/share/twinplane-demo").expanduser()))
    show("twinplane up")
    os.environ["KUBECONFIG"] = f"{os.environ['TWINPLANE_HOME']}/kubeconfig"
    if cluster_exists():
        print(f"\nThe cluster {CLUSTER} is already there.")
    else:
        create_cluster()
    show(f"kubectl apply -f {HERE / 'shop' / 'shop.yaml'}")
    for name in ("storefront", "catalog", "checkout"):
        show(f"kubectl -n {NAMESPACE} rollout status deployment/{name} --timeout={WAIT_SECONDS}s")
    show("kubectl get nodes -L tier,topology.kubernetes.io/zone")
    show(f"kubectl -n {NAMESPACE} get pods -o wide")
    wait_for_load_balancers()
    show(f"kubectl -n {NAMESPACE} get service,ingress")
    show("twinplane get loadbalancers")
    requests()
    print_next(time.monotonic() - began)
    return 0


def create_cluster() -> None:
    missing = requirements(Path(os.environ["TWINPLANE_HOME"]))
    if missing:
        print("\nNodes are simulated here. Real ones are not possible, because:")
        print("\n".join(f"  {sentence}" for sentence in missing))
        show(f"twinplane create cluster -f {HERE / 'cluster.yaml'}")
        return
    api = "--add examples/shop/api.py:/api.py --entrypoint python3 --cmd /api.py"
    show(f"twinplane image pack {WEB_IMAGE} --apt nginx-light")
    show(f"twinplane image pack {API_IMAGE} --apt python3 {api}")
    show(f"twinplane create cluster -f {HERE / 'cluster-real-nodes.yaml'}")


def show(command: str) -> None:
    """Run a command as the user would see it; a failure ends the demo."""
    print(f"\n$ {command}", flush=True)
    subprocess.run(command.split(), check=True)


def output(command: str) -> Any:
    return json.loads(subprocess.run(command.split(), check=True, capture_output=True, text=True).stdout)


def cluster_exists() -> bool:
    command = ["twinplane", "get", "cluster", "--name", CLUSTER, "-o", "json"]
    found = subprocess.run(command, check=False, capture_output=True, text=True)
    return found.returncode == 0 and json.loads(found.stdout)[0]["status"] == "ACTIVE"


def hostname(kind: str, name: str) -> str:
    found = output(f"kubectl -n {NAMESPACE} get {kind} {name} -o json")
    ingress = found["status"].get("loadBalancer", {}).get("ingress") or [{}]
    return str(ingress[0].get("hostname", ""))


def wait_for_load_balancers() -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not (hostname("service", "storefront") and hostname("ingress", "shop")):
        if time.monotonic() > end:
            raise SystemExit("demo: the load balancers have no host names yet; see `twinplane logs`")
        time.sleep(0.2)


def requests() -> None:
    """One request through each load balancer, and both paths of the Ingress."""
    urls = {b["dnsName"]: b["urls"][0].rstrip("/") for b in output("twinplane get loadbalancers -o json")}
    network, application = urls[hostname("service", "storefront")], urls[hostname("ingress", "shop")]
    for title, url, host in (
        ("Network Load Balancer -> storefront", network, ""),
        ("Application Load Balancer, /catalog", application + "/catalog", "shop.example.com"),
        ("Application Load Balancer, /checkout", application + "/checkout", "shop.example.com"),
    ):
        header = f"-H 'Host: {host}' " if host else ""
        print(f"\n# {title}\n$ curl {header}{url}\n{fetch(url, host)}")


def fetch(url: str, host: str) -> str:
    """The answer; a new load balancer takes a moment before its targets are in service."""
    end = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            request = urllib.request.Request(url, headers={"Host": host} if host else {})
            with urllib.request.urlopen(request, timeout=5) as answer:
                return str(answer.read().decode().strip())
        except (OSError, urllib.error.HTTPError):
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def print_next(seconds: float) -> None:
    home = os.environ["TWINPLANE_HOME"]
    print(
        f"""
Done in {seconds:.0f} s. The region goes on running. To use it from this shell:

  export PATH="$PWD/.venv/bin:$PATH" TWINPLANE_HOME={home}
  eval "$(twinplane env)"

Then try:
  kubectl get pods -A --watch
  kubectl -n {NAMESPACE} scale deployment storefront --replicas 12
  kubectl -n {NAMESPACE} logs deployment/catalog
  aws eks list-clusters
  aws ec2 terminate-instances --instance-ids ID      # a node goes, its group starts another, the pods move
  twinplane scale nodegroup --cluster {CLUSTER} --name general --nodes 5
  twinplane delete cluster --name {CLUSTER}
  twinplane down --purge                              # leaves nothing behind"""
    )


if __name__ == "__main__":
    sys.exit(main())
