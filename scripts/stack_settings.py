"""Settings in .env that compose takes, and by which the stack would not do what somebody means."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

from scripts.dotenv import settings


def faults(root: Path) -> list[str]:
    """A sentence for each of them.

    :raises Fault: .env can't be read
    """
    given = settings(root)
    parts = [root / "compose.yaml", root / "compose.override.yaml", root / "examples" / "prometheus" / "compose.yaml"]
    text = "".join(part.read_text(encoding="utf-8", errors="replace") for part in parts if part.is_file())
    known = set(re.findall(r"\$\{(PSU_\w+)", text))
    told = []
    # Other files of compose, and containers that get all of .env, may have a use for a name.
    if parts[0].is_file() and "COMPOSE_FILE" not in given and "env_file" not in text:
        unknown = sorted(name for name in given if name.startswith("PSU_") and name not in known)
        known.discard("PSU_AGENT_CONF")  # of former releases, see `mounts.check`
        told += [f"{name} is unknown; known are {', '.join(sorted(known))}" for name in unknown]
    share = os.environ.get("PSU_SHARE") or given.get("PSU_SHARE", "")
    if not re.fullmatch(r"(\$share/[^/+#]+/)?", share):
        told.append(f"PSU_SHARE is {share!r} for Telegraf, which stores nothing so: write PSU_SHARE='$share/telegraf/'")
    topic = os.environ.get("PSU_BASE_TOPIC") or given.get("PSU_BASE_TOPIC") or "psu"
    allowed = base_topic(root)
    if allowed and not covers(allowed, topic):
        told.append(
            f"PSU_BASE_TOPIC is {topic!r}, and base_topic in mosquitto/users.toml {allowed!r}: "
            "Telegraf may not read there, and stores nothing. Write the same into both"
        )
    return [f"{root / '.env'}: {one}" for one in told]


def base_topic(root: Path) -> str:
    """The base topic in mosquitto/users.toml; empty where it can't be read."""
    try:
        text = (root / "mosquitto" / "users.toml").read_text(encoding="utf-8-sig")
        return str(tomllib.loads(text).get("base_topic", ""))
    except (OSError, ValueError):
        return ""


def covers(allowed: str, topic: str) -> bool:
    """True if the one filter lets through all that the other does."""
    here, there = allowed.split("/"), topic.split("/")
    return len(here) == len(there) and all(one in ("+", other) for one, other in zip(here, there, strict=True))
