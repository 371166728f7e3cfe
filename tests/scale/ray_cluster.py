"""A Ray cluster of a head and workers as separate processes, each in a network namespace of its own where we may make some."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

RAY = str(Path(sys.executable).with_name("ray"))
HEAD_PORT = 26379
START_S = 90.0


def may_make_namespaces() -> bool:
    """Whether this process can make, connect and remove network namespaces."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    name = f"vibe-try-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode == 0
    if not made:
        return False
    pair = ["ip", "link", "add", f"vt{os.getpid() % 100000}", "type", "veth", "peer", "name", f"vu{os.getpid() % 100000}", "netns", name]
    wired = subprocess.run(pair, capture_output=True, check=False).returncode == 0
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return wired


@dataclass
class Node:
    """One `ray start --block` and all that it started."""

    name: str
    address: str
    prefix: list[str]  # what runs a command where the node is
    process: subprocess.Popen[bytes] | None = None

    def processes(self) -> list[int]:
        """Process ids of the node, its descendants included."""
        return _tree(self.process.pid) if self.process else []

    def works(self) -> bool:
        """Whether an actor of a pool is there."""
        return any("MapWorker" in _title(pid) for pid in self.processes())

    def kill(self) -> list[str]:
        """SIGKILL to everything at once; the names of what was killed."""
        victims = self.processes()
        names = [_title(pid) for pid in victims]
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.process is not None:
            self.process.wait(timeout=30)
        return names


@dataclass
class Cluster:
    nodes: dict[str, Node]
    env: dict[str, str]
    log: Path
    bridge: str | None = None
    address: str = field(init=False)

    def __post_init__(self) -> None:
        self.address = f"{self.nodes['head'].address}:{HEAD_PORT}"

    def command(self, *words: str) -> subprocess.Popen[str]:
        """Start a program where the head is; its stdout is read line by line, its stderr goes to the log."""
        return subprocess.Popen(
            [*self.nodes["head"].prefix, *words], env=self.env, text=True, stdout=subprocess.PIPE, stderr=self.log.open("ab"), bufsize=1
        )

    def cut(self, name: str) -> None:
        """Take the wire out of a node."""
        subprocess.run(["ip", "link", "set", f"{self.bridge}{name[-1]}", "down"], check=True)


@contextlib.contextmanager
def running_cluster(folder: Path, *, workers: int = 2, cpus: int = 1, namespaces: bool = True) -> Iterator[Cluster]:
    """Head without cores for work, `workers` with `cpus` each; everything is gone when the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    tag = secrets.token_hex(2)
    names = ["head", *(f"worker{number}" for number in range(1, workers + 1))]
    env = {
        **os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1", "RAY_health_check_period_ms": "1000", "RAY_health_check_failure_threshold": "5",
    }  # fmt: skip
    nodes = _nodes_in_namespaces(names, tag) if namespaces else {name: Node(name, "127.0.0.1", []) for name in names}
    if not namespaces:
        env["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # several nodes, all of them on loopback
    cluster = Cluster(nodes, env, folder / "cluster.log", f"vb{tag}" if namespaces else None)
    temporary = Path("/tmp") / f"vr-{tag}"  # short: sockets lie in it, whose paths may have 107 bytes
    try:
        for node in nodes.values():
            _start(node, cluster, temporary, cpus)
        yield cluster
    finally:
        for node in reversed(nodes.values()):
            node.kill()
        if namespaces:
            _remove_namespaces(names, tag)
        shutil.rmtree(temporary, ignore_errors=True)


def _start(node: Node, cluster: Cluster, temporary: Path, cpus: int) -> None:
    place = (
        ["--head", f"--port={HEAD_PORT}", "--include-dashboard=false", "--num-cpus=0", f"--temp-dir={temporary}"]
        if node.name == "head"
        else [f"--address={cluster.address}", f"--num-cpus={cpus}"]
    )
    words = [*node.prefix, RAY, "start", *place, f"--node-ip-address={node.address}", "--object-store-memory=100000000", "--block"]
    before = cluster.log.stat().st_size if cluster.log.exists() else 0
    node.process = subprocess.Popen(words, env=cluster.env, stdout=cluster.log.open("ab"), stderr=subprocess.STDOUT)
    deadline = time.monotonic() + START_S
    while b"Ray runtime started" not in cluster.log.read_bytes()[before:]:
        if node.process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{node.name} did not start:\n{cluster.log.read_text(errors='replace')[-3000:]}")
        time.sleep(0.1)


def _nodes_in_namespaces(names: list[str], tag: str) -> dict[str, Node]:
    """A bridge that the host has no address on, and a namespace on it per node: nothing of it listens on this machine's own network."""
    bridge = f"vb{tag}"
    _ip("link", "add", bridge, "type", "bridge")
    _ip("link", "set", bridge, "up")
    nodes = {}
    for number, name in enumerate(names):
        space, outer = f"vn{tag}-{name}", f"{bridge}{name[-1]}"
        _ip("netns", "add", space)
        _ip("link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", space)
        _ip("link", "set", outer, "master", bridge, "up")
        for words in (
            ("addr", "add", f"10.213.77.{number + 1}/24", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
            ("link", "set", "lo", "up"),
        ):
            _ip("-n", space, *words)
        nodes[name] = Node(name, f"10.213.77.{number + 1}", ["ip", "netns", "exec", space])
    return nodes


def _remove_namespaces(names: list[str], tag: str) -> None:
    for name in names:
        subprocess.run(["ip", "netns", "del", f"vn{tag}-{name}"], capture_output=True, check=False)
    subprocess.run(["ip", "link", "del", f"vb{tag}"], capture_output=True, check=False)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def _tree(root: int) -> list[int]:
    """A process and its descendants."""
    children: dict[int, list[int]] = {}
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(place.name))
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children.get(pid, [])
    return found


def _title(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
    return ""
