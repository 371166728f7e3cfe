"""The files of a deployment say the same as the settings they were made from, and give away no more than they must."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from dagster._core.instance.config import dagster_instance_config

from vibe_assets.cli import main

REPOSITORY = Path(__file__).resolve().parents[2]
DEPLOY = REPOSITORY / "deploy"
KUBERNETES = DEPLOY / "kubernetes"


def read(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))


SQLITE, POSTGRES = (read(REPOSITORY / "dagster_home" / name) for name in ("dagster.yaml", "dagster.postgres.yaml"))
COMPOSE, VALUES = read(DEPLOY / "docker-compose.yaml"), read(KUBERNETES / "values.yaml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def manifests() -> Iterator[dict[str, Any]]:
    for file in sorted(KUBERNETES.glob("*.yaml")):
        if file.name != "values.yaml":
            yield from yaml.safe_load_all(file.read_text(encoding="utf-8"))


def asked_of_the_environment(value: Any) -> set[str]:
    """Names in every {env: NAME}."""
    if not isinstance(value, dict):
        return {name for item in value for name in asked_of_the_environment(item)} if isinstance(value, list) else set()
    return {value["env"]} if value.keys() == {"env"} else {name for inner in value.values() for name in asked_of_the_environment(inner)}


# -- one set of settings, three places ----------------------------------------------------------------------------------------
def test_postgres_changes_where_the_instance_keeps_things_and_where_runs_start_and_nothing_else() -> None:
    assert {name: value for name, value in POSTGRES.items() if name != "storage"} == shared(SQLITE)
    connection = POSTGRES["storage"]["postgres"]["postgres_db"]
    assert asked_of_the_environment(connection) == {f"DAGSTER_PG_{name}" for name in ("HOST", "PORT", "DB", "USERNAME", "PASSWORD")}


def test_both_instance_files_are_what_dagster_expects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("HOST", "h"), ("PORT", "5432"), ("DB", "d"), ("USERNAME", "u"), ("PASSWORD", "p")):
        monkeypatch.setenv(f"DAGSTER_PG_{name}", value)
    for settings in (SQLITE, POSTGRES, rendered()):
        (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        dagster_instance_config(str(tmp_path))
    (tmp_path / "dagster.yaml").write_text("concurrency: {pools: {granularty: run}}", encoding="utf-8")
    with pytest.raises(Exception, match="granularty"):
        dagster_instance_config(str(tmp_path))


def shared(settings: dict[str, Any]) -> dict[str, Any]:
    """What does not depend on where runs start: on one machine beside the daemon, else in the code server or in a pod of their own."""
    return {name: value for name, value in settings.items() if name != "run_launcher"}


def rendered() -> dict[str, Any]:
    """What the chart makes of the values that concern the instance's behaviour."""
    monitoring, retention = VALUES["dagsterDaemon"]["runMonitoring"], VALUES["retention"]
    return {
        **VALUES["additionalInstanceConfig"],
        "telemetry": VALUES["telemetry"],
        "python_logs": {"python_log_level": VALUES["pythonLogs"]["pythonLogLevel"]},
        "run_monitoring": {
            "enabled": monitoring["enabled"],
            "start_timeout_seconds": monitoring["startTimeoutSeconds"],
            "poll_interval_seconds": monitoring["pollIntervalSeconds"],
        },
        "retention": {name: {"purge_after_days": retention[name]["purgeAfterDays"]} for name in ("schedule", "sensor")},
    }


def test_the_charts_values_say_what_the_instance_file_says() -> None:
    assert rendered() == {name: value for name, value in shared(SQLITE).items() if name != "compute_logs"}  # the chart has its own
    assert VALUES["dagsterDaemon"]["runCoordinator"] == {"enabled": False}
    assert VALUES["dagsterDaemon"]["runRetries"] == {"enabled": False}
    assert VALUES["postgresql"]["postgresqlScheme"] == POSTGRES["storage"]["postgres"]["postgres_db"]["scheme"]


def test_the_image_of_ray_nodes_is_the_clusters_ray() -> None:
    (cluster,) = [made for made in manifests() if made["kind"] == "RayCluster"]
    (pinned,) = re.findall(r"(?m)^ray==(.+)$", (REPOSITORY / "constraints.txt").read_text(encoding="utf-8"))
    assert cluster["spec"]["rayVersion"] == pinned
    assert cluster["spec"]["authOptions"] == {"mode": "token"}


# -- docker compose -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", SERVICES)
def test_every_service_runs_as_nobody_special_on_a_root_it_cannot_write(name: str) -> None:
    service = SERVICES[name]
    assert int(service["user"].partition(":")[0]) > 0
    assert (service["read_only"], service["cap_drop"], service["security_opt"]) == (True, ["ALL"], ["no-new-privileges:true"])
    assert {"cpus", "memory", "pids"} == service["deploy"]["resources"]["limits"].keys()
    assert ("healthcheck" in service) != (name == "migrate")
    assert "privileged" not in service
    assert not [volume for volume in service.get("volumes", []) if "docker.sock" in volume]


def test_the_proxy_alone_is_reachable_and_on_this_machine_unless_told_otherwise() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["proxy"]
    assert SERVICES["proxy"]["ports"] == ["${BIND:-127.0.0.1}:${PORT:-443}:8443"]
    assert {name for name, network in COMPOSE["networks"].items() if not network.get("internal")} == {"outside"}
    assert {name for name, service in SERVICES.items() if "outside" in service["networks"]} == {"code", "proxy"}
    assert not set(SERVICES["proxy"]["networks"]) & {"inside"}, "the proxy reaches the pages, and neither database nor code server"


def test_what_a_service_needs_of_the_environment_it_is_given() -> None:
    needed = asked_of_the_environment(POSTGRES) | asked_of_the_environment(read(DEPLOY / "workspace.yaml"))
    for name in ("migrate", "code", "daemon", "ui"):
        assert needed <= SERVICES[name]["environment"].keys(), name


def test_every_volume_network_setting_and_secret_that_is_used_is_there() -> None:
    for service in SERVICES.values():
        named = {volume.partition(":")[0] for volume in service.get("volumes", []) if not volume.startswith(("/", ".", "$"))}
        assert named <= COMPOSE["volumes"].keys()
        assert set(service["networks"]) <= COMPOSE["networks"].keys()
        assert {use["source"] for use in service.get("configs", [])} <= COMPOSE["configs"].keys()
        assert set(service.get("secrets", [])) <= COMPOSE["secrets"].keys()
        assert set(service.get("depends_on", {})) <= SERVICES.keys()
    for use in COMPOSE["configs"].values():
        assert (DEPLOY / use["file"]).is_file()


def test_photos_are_shown_read_only_and_the_pages_write_no_data() -> None:
    assert any(volume.endswith(":/photos:ro") for volume in SERVICES["code"]["volumes"])
    assert "data:/srv/data:ro" in SERVICES["ui"]["volumes"]
    assert not [name for name in ("daemon", "proxy") if any("data:/" in volume for volume in SERVICES[name].get("volumes", []))]


def test_no_secret_is_written_down_and_every_one_that_is_needed_is_asked_for() -> None:
    for file in [*DEPLOY.rglob("*.yaml"), DEPLOY / "Dockerfile", DEPLOY / "example.env"]:
        for line in file.read_text(encoding="utf-8").splitlines():
            found = re.match(r"""^\s*-?\s*\{?(?:name:\s*)?["']?(\w*(?:PASSWORD|API_KEY|TOKEN|SECRET)\w*)["']?\s*[:=]\s*([^#]*)""", line)
            value = found[2].strip() if found else ""
            assert not value or value.startswith("${"), f"{file.name}: {line}"
    example = (DEPLOY / "example.env").read_text(encoding="utf-8")
    needed = set(re.findall(r"\$\{(\w+):\?", (DEPLOY / "docker-compose.yaml").read_text(encoding="utf-8")))
    assert needed <= set(re.findall(r"(?m)^(\w+)=", example))


IN_A_POD = next(made for made in manifests() if made["kind"] == "Deployment")["spec"]["template"]["spec"]["containers"][0]["args"]


@pytest.mark.parametrize("arguments", [SERVICES["ui"]["command"], IN_A_POD], ids=["compose", "kubernetes"])
def test_the_commands_of_the_pages_are_ones_that_vibe_knows(arguments: list[str], tmp_path: Path) -> None:
    program, command, *options = arguments
    (tmp_path / "workspace.yaml").touch()
    options = [str(tmp_path / "workspace.yaml") if option.endswith("workspace.yaml") else option for option in options]
    assert program == "vibe"
    context = main.commands[command].make_context(command, options)
    assert (context.params["host"], context.params["no_daemon"], len(context.params["served_as"])) == ("0.0.0.0", True, 1)
    with pytest.raises(click.NoSuchOption):
        main.commands[command].make_context(command, ["--no-such-option"])


def test_images_are_official_ones_or_made_here() -> None:
    images = {service["image"] for service in SERVICES.values()}
    images |= set(re.findall(r"(?m)^FROM (\S+)", (DEPLOY / "Dockerfile").read_text(encoding="utf-8")))
    assert {image.partition(":")[0] for image in images} == {"postgres", "nginx", "python", "vibe-assets"}
    for image in images - {"vibe-assets:local"}:
        assert re.fullmatch(r"[a-z]+:\d[\w.-]*", image), f"{image}: expected a fixed version"


def test_what_the_image_is_made_from_is_sent_to_the_builder() -> None:
    copied = re.findall(r"(?m)^COPY (?!--from)(.+) \S+$", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"))
    let_in = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines() if line.startswith("!")}
    for path in (part for line in copied for part in line.split()):
        assert path in let_in
        assert (REPOSITORY / path).exists()


def compose_plugin() -> bool:
    docker = shutil.which("docker")
    return docker is not None and subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not compose_plugin(), reason="docker's compose plugin is not here")
def test_docker_compose_reads_its_file(tmp_path: Path) -> None:
    values = tmp_path / "env"
    values.write_text("DAGSTER_PG_PASSWORD=x\nPHOTOS=/photos\nPUBLIC_HOST=photos.example.org\n", encoding="utf-8")
    command = ["docker", "compose", "-f", str(DEPLOY / "docker-compose.yaml"), "--env-file", str(values), "config", "--quiet"]
    assert subprocess.run(command, capture_output=True, text=True, check=False).stderr == ""


# -- kubernetes -----------------------------------------------------------------------------------------------------------------
def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, pod spec) of everything that runs code of ours."""
    for made in manifests():
        if made["kind"] == "Deployment":
            yield made["metadata"]["name"], made["spec"]["template"]["spec"]
        if made["kind"] == "RayCluster":
            for group in (made["spec"]["headGroupSpec"], *made["spec"]["workerGroupSpecs"]):
                yield group.get("groupName", "head"), group["template"]["spec"]


def test_every_pod_runs_as_nobody_special_within_limits() -> None:
    specs = list(pods())
    assert [name for name, _ in specs] == ["head", "cpu", "vibe-ui"]
    for _, spec in specs:
        contexts = [(spec["securityContext"], spec["containers"][0])]
        for pod, container in contexts:
            assert pod["runAsNonRoot"]
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
            }  # fmt: skip
            assert {"cpu", "memory"} == container["resources"]["limits"].keys() == container["resources"]["requests"].keys()
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            assert mounted == {volume["name"] for volume in spec["volumes"]}
    (deployment,) = VALUES["dagster-user-deployments"]["deployments"]
    for part in (VALUES["dagsterWebserver"], VALUES["dagsterDaemon"], deployment):
        assert part["podSecurityContext"]["runAsNonRoot"]
        assert part["securityContext"]["readOnlyRootFilesystem"]
        assert {mount["name"] for mount in part["volumeMounts"]} == {volume["name"] for volume in part["volumes"]}


def test_dagsters_own_webserver_is_read_only_and_nothing_is_open_that_no_policy_opens() -> None:
    assert VALUES["dagsterWebserver"]["enableReadOnly"] is True
    policies = {made["metadata"]["name"]: made["spec"] for made in manifests() if made["kind"] == "NetworkPolicy"}
    assert policies.pop("nothing-comes-in") == {"podSelector": {}, "policyTypes": ["Ingress"]}
    for name, policy in policies.items():
        assert policy["podSelector"], name
        for rule in policy["ingress"]:
            assert rule["from"], name
            assert all(peer for peer in rule["from"]), name


def test_claims_and_names_that_manifests_share_are_the_same() -> None:
    made = list(manifests())
    claims = {one["metadata"]["name"] for one in made if one["kind"] == "PersistentVolumeClaim"}
    used = re.findall(r"claimName: ([\w-]+)", "".join(file.read_text(encoding="utf-8") for file in KUBERNETES.glob("*.yaml")))
    assert set(used) == claims
    cluster = next(one["metadata"]["name"] for one in made if one["kind"] == "RayCluster")
    selected = [one["spec"]["podSelector"].get("matchLabels", {}).get("ray.io/cluster") for one in made if one["kind"] == "NetworkPolicy"]
    assert set(selected) - {None} == {cluster}
