"""The stack as its users see it: samples by a query of Grafana's, and services that are well."""

from __future__ import annotations

import base64
import itertools
import json
import urllib.parse
from typing import Any

from tests.support.waiting import wait_until

from .compose import LONG, Stack


def query(stack: Stack, text: str) -> list[dict[str, Any]]:
    """The rows that a panel would show, with tags: Grafana's user asks, Grafana hands the query on with its own token."""
    secret = base64.b64encode(f"admin:{stack.secret('grafana/admin_password')}".encode()).decode()
    url = "http://127.0.0.1:3000/api/datasources/proxy/uid/psu/query"
    status, body = stack.ask(url, f"Basic {secret}", urllib.parse.urlencode({"q": text, "epoch": "ms"}))
    assert status == 200, body
    (result,) = json.loads(body)["results"]
    assert "error" not in result, result
    return [
        dict(zip(series["columns"], values, strict=True)) | series.get("tags", {})
        for series in result.get("series", [])
        for values in series["values"]
    ]


def sequence(stack: Stack) -> list[int]:
    """The numbers of the first channel's samples that are stored, in their order."""
    return [row["seq"] for row in query(stack, "SELECT seq FROM psu_channel WHERE psu = 'demo' AND channel = '1'")]


def without_gap(numbers: list[int]) -> int:
    """How many agents counted these samples, one after another; 0 where one is missing or there twice."""
    agents = 1
    for before, number in itertools.pairwise(numbers):
        if number == 1:
            agents += 1
        elif number != before + 1:
            return 0
    return agents


def grows(stack: Stack) -> None:
    """Wait for a sample that is newer than all that are stored."""
    before = len(sequence(stack))
    wait_until(lambda: len(sequence(stack)) > before, f"a new sample in the store\n{stack.state()}", LONG)


def well(stack: Stack, service: str) -> None:
    """Wait for a service's health check to be content."""
    wait_until(lambda: stack.health(service) == "healthy", f"{service} to be healthy", LONG)


def answers(stack: Stack) -> None:
    """Wait for Grafana."""
    wait_until(lambda: stack.ask("http://127.0.0.1:3000/api/health")[0] == 200, "Grafana answers", LONG)
