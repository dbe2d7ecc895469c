"""An installation of the former compose.yaml becomes one of the present, as docs/operating.md tells it, and goes back again.

The former files are those of the release before `make backup`: InfluxDB 2.7.12, single files mounted, PSU_AGENT_CONF. Of its
images InfluxDB is the real one; the others are the present ones under the former names.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import commands
from tests.stack.services import BUILT
from tests.support.compose import checkout
from tests.support.processes import ROOT

from .compose import PARTS, Stack
from .engine import Engine
from .images import services
from .seeing import answers, grows, sequence, well, without_gap

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]

FORMER = Path(__file__).with_name("former")
INFLUXD = BUILT / "influxd-2.7.12"
WEEK = 7 * 86400


def former(folder: Path) -> None:
    """The files of the former release in a checkout of the present one, as far as they differ for an installation."""
    # Podman 4.3 does not know it, as its users found.
    text = re.sub(r" +start_interval: .*\n", "", (FORMER / "compose.yaml").read_text())
    (folder / "compose.yaml").write_text(text)
    shutil.copy(FORMER / "setup.sh", folder / "influxdb" / "setup.sh")


@pytest.fixture(scope="module")
def stack(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The former installation, not yet brought up."""
    if not INFLUXD.exists():
        pytest.skip("InfluxDB 2.7.12 is not here: bash .ci/influxdb-tools 2.7.12 builds it in some ten minutes")
    context = engine.folder / "former"
    shutil.copytree(FORMER, context)
    shutil.copy(INFLUXD, context / "influxd")
    for name in ("influx.py", "entrypoint.sh"):
        (context / name).chmod(0o755)
    names = re.findall(r"^    image: ((?!psu-agent)\S+)$", (FORMER / "compose.yaml").read_text(), re.MULTILINE)
    present = {target: f"--build-arg={target}={_full(name)}" for target, name in services().items()}
    for name in sorted(set(names)):
        target = name.partition(":")[0].rpartition("/")[2]
        if target in ("influxdb", "telegraf", "grafana"):
            build = ["build", "--pull=never", "--format=docker", "--quiet", *present.values()]
            engine.podman(*build, "--target", target, "--tag", _full(name), context)
    folder = checkout(tmp_path_factory.mktemp("former") / "psu-agent", PARTS)
    former(folder)
    example = (folder / "examples" / "stack" / "psu-agent.yaml").read_text()
    (folder / "psu-agent.yaml").write_text(example.replace("name: HEATER", "name: OVEN"))
    (folder / ".env").write_text("PSU_AGENT_CONF=./psu-agent.yaml\n")
    with Stack(engine, folder, "demo") as stack:
        stack.run("make -s secrets", fails=True)  # which the present release tells PSU_AGENT_CONF from
        (folder / "secrets" / "influxdb" / "admin_token").write_text("the-former-administrators-token")
        yield stack


def _full(name: str) -> str:
    return f"docker.io/{name}" if "/" in name else f"docker.io/library/{name}"


def tokens(stack: Stack) -> dict[str, str]:
    return {name: stack.inside("grafana", "cat", f"/run/tokens/{name}").strip() for name in ("telegraf", "grafana")}


def written(stack: Stack, token: str) -> str:
    """The status of a write with this token: 204, 403 where it may not write, 401 where there is no such token."""
    command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-d", "psu_x value=1"]
    url = "http://influxdb:8086/api/v2/write?org=lab&bucket=psu"
    return stack.inside("telegraf", *command, "-H", f"Authorization: Token {token}", url)


def retention(stack: Stack) -> int:
    token = stack.secret("influxdb/admin_token")
    url = "http://influxdb:8086/api/v2/buckets?name=psu"
    said = stack.inside("telegraf", "curl", "-s", "-H", f"Authorization: Token {token}", url)
    seconds: int = json.loads(said)["buckets"][0]["retentionRules"][0]["everySeconds"]
    return seconds


def test_from_the_former_release_and_back(stack: Stack) -> None:
    stack.run("docker compose up -d")
    answers(stack)
    grows(stack)
    assert "influxdb:2.7.12" in stack.inspect("influxdb")["ImageName"]
    # As the former docs/stack.md told it.
    bucket = json.loads(_influx(stack, "bucket", "list", "--name", "psu", "--json"))[0]["id"]
    _influx(stack, "bucket", "update", "--id", bucket, "-r", "104w")
    old, begin = tokens(stack), sequence(stack)
    assert [written(stack, token) for token in old.values()] == ["204", "403"]

    lines = section("From a release without make backup")
    checked = []
    for line in lines:
        if line.startswith("git pull"):
            (stack.folder / "influxdb" / "setup.sh").unlink()
            shutil.copyfile(ROOT / "compose.yaml", stack.folder / "compose.yaml")
        elif "docker compose build" not in line and "docker compose pull" not in line:  # nothing is fetched here
            stack.run(line)
            checked.append(line)
        if line == "make backup":
            # The former containers went on.
            assert "influxdb:2.7.12" in stack.inspect("influxdb")["ImageName"]
            grows(stack)
    assert len(checked) == 5
    (stack.folder / "psu-agent.yaml").unlink()
    answers(stack)
    for service in ("agent", "mosquitto", "telegraf", "influxdb", "grafana"):
        well(stack, service)
    grows(stack)
    assert "influxdb:2.9.1" in stack.inspect("influxdb")["ImageName"]
    numbers = sequence(stack)
    assert numbers[: len(begin)] == begin
    assert without_gap(numbers) == 3, "the backup restarts the agent, and so does the upgrade"
    assert retention(stack) == 104 * WEEK
    assert [written(stack, token) for token in old.values()] == ["401", "401"]
    assert [written(stack, token) for token in tokens(stack).values()] == ["204", "403"]
    former_token = stack.secret("influxdb/admin_token")
    assert written(stack, former_token) == "204"
    stack.run("make rotate NAME=influxdb")
    assert written(stack, former_token) == "401"

    # Back, by the backup that was made before the first start of the present release.
    (archive,) = (stack.folder / "backups").glob("psu-*.tar")
    stack.run("docker compose down")
    stack.run(f"make restore FROM={archive.relative_to(stack.folder)} OVERWRITE=yes")
    former(stack.folder)
    (stack.folder / ".env").write_text("PSU_AGENT_CONF=./config/psu-agent.yaml\n")
    stack.run("docker compose up -d")
    answers(stack)
    grows(stack)
    assert "influxdb:2.7.12" in stack.inspect("influxdb")["ImageName"]
    assert sequence(stack)[: len(begin)] == begin


def section(heading: str) -> list[str]:
    """The commands of docs/operating.md below a heading."""
    lines = (ROOT / "docs" / "operating.md").read_text().splitlines()
    first = lines.index(f"### {heading}") + 1
    last = next(number for number, line in enumerate(lines[first:], first + 1) if line.startswith("#"))
    return [command.text for command in commands("docs/operating.md") if first < command.line < last]


def _influx(stack: Stack, *words: str) -> str:
    return stack.inside("influxdb", "env", f"INFLUX_TOKEN={stack.secret('influxdb/admin_token')}", "influx", *words)
