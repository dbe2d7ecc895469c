#!/usr/bin/env python3
"""Sets InfluxDB up for the stack, and again whenever something of it has changed. Needs nothing but Python.

It makes user, organization and bucket in an empty store. In one that is there it sets the administrator's password and the
retention as they are wanted now, and sees that two tokens work: one that can only write the bucket, for Telegraf, and one
that can only read it, for Grafana. It may be run at any time and stopped anywhere: the next run goes on.

    setup.py                     what is missing or wrong
    setup.py --renew telegraf    the same, with a new token for Telegraf: the old one is refused from then on
                                 (grafana; admin: this program's own)

It knows two things that give it entry to the store, and either of them brings the other back: the administrator's
password, which people set, and a token of its own, which nobody else knows. InfluxDB keeps hashes of tokens alone, so
whether a token is right is found out by its use.

Exit code: 0 when all is well, 1 when the store did not answer as it should, 2 when somebody has to do something first.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import secrets
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from retention import DEFAULT, seconds, shard, spoken
from store import Answer, Fault, Store, reason_of, with_token

USER = "admin"
OWN = "psu setup"
#: What InfluxDB calls the tokens of an administrator that it makes itself. `--renew admin` ends them, too.
ADMIN_TOKENS = (OWN, f"{USER}'s Token", f"{USER}'s Recovery Token")
LOST = """\
InfluxDB refuses the password in {password}, and this program's own token is {own}.
  If you have the password that it was set up with, write it into that file.
  If not, docs/operating.md tells how to set the one in that file while the store stands still ("Locked out of the store")."""


def write(path: Path, text: str, mode: int) -> None:
    """Replace a file in one step: its reader gets all of the old one or all of the new one, also after a loss of power."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.unlink(missing_ok=True)
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise Fault(f"{path}: {error.strerror}. The next run goes on from here") from None


class Setup:
    """One run."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.store = Store(environment.get("INFLUX_HOST", "http://influxdb:8086"))
        self.org = environment.get("INFLUX_ORG", "lab")
        self.bucket = environment.get("INFLUX_BUCKET", "psu")
        #: None: a store that is there keeps what it has.
        self.retention = seconds(given) if (given := environment.get("PSU_RETENTION")) else None
        #: What `make secrets` made.
        self.secrets = Path(environment.get("SECRETS", "/run/secrets"))
        #: What Telegraf and Grafana read.
        self.tokens = Path(environment.get("TOKENS", "/run/tokens"))
        #: What only this program reads: for each token its id, itself, and which ones it is there instead of.
        self.state = Path(environment.get("STATE", "/var/lib/influxdb-setup"))
        #: Seconds that the store may take to start: it reads its whole index before it answers.
        self.starting = float(environment.get("STARTING", "120"))
        self.password_file = self.secrets / "admin_password"
        self.ids: dict[str, str] = {}

    def run(self, renewed: list[str]) -> None:
        password = self.password()
        self.store.wait(self.starting)
        if self.store.get("GET", "/api/v2/setup")["allowed"]:
            self.onboard(password)
        self.enter(password)
        self.ids["user"] = self.store.get("GET", "/api/v2/me").text("id")
        self.ids["org"] = self.organization()
        if not self.kept("admin"):
            self.refuse_to_shorten()
        if "admin" in renewed or not self.kept("admin"):
            # Where an earlier version's token is still kept in secrets/, people may use it: until they renew it.
            instead = ADMIN_TOKENS if "admin" in renewed or not self.legacy_token() else (OWN,)
            self.make("admin", self.own_permissions(), instead)
        else:
            self.end_others(self.kept("admin"))
        self.set_password(password)
        self.set_bucket()
        for name, action in (("telegraf", "write"), ("grafana", "read")):
            self.token(name, action, name in renewed)

    def password(self) -> str:
        try:
            # An editor of Windows begins a file with a mark of its encoding.
            password = self.password_file.read_text(encoding="utf-8-sig").strip()
        except OSError as error:
            raise Fault(f"{self.password_file}: {error.strerror}: run `make secrets`", 2) from None
        except UnicodeDecodeError:
            raise Fault(f"{self.password_file} is not in UTF-8. Delete it, and run `make secrets`", 2) from None
        if not 8 <= len(password.encode()) <= 72:
            raise Fault(
                f"{self.password_file}: InfluxDB takes passwords of 8 to 72 characters. Delete it, and run `make secrets`",
                2,
            )
        return password

    # -- who this is ---------------------------------------------------------------------------------------------------
    def onboard(self, password: str) -> None:
        """User, organization and bucket of an empty store.

        The token is written down before the store has it: if this is stopped in between, the next run has entry.
        """
        if not (token := self.kept("admin").get("token")):
            token = secrets.token_urlsafe(48)
            self.keep("admin", {"token": token})
        body = {"username": USER, "password": password, "org": self.org, "bucket": self.bucket, "token": token}
        self.store.get("POST", "/api/v2/setup", body | {"retentionPeriodSeconds": self.wanted()})
        print(f"a new store: user {USER}, organization {self.org}, bucket {self.bucket}")

    def enter(self, password: str) -> None:
        """Find what the store accepts.

        :raises Fault: it accepts nothing of what is known here
        """
        kept = self.kept("admin")
        own = kept.get("token")
        # An onboarding goes on in the store when who asked for it was killed: first there is a user, then what is its.
        until = time.monotonic() + (self.starting if own and "id" not in kept else 0) / 10
        while True:
            if own and self.accepted(headers := with_token(own)):
                self.store.headers = headers
                return
            # Without a token that works there is nothing to keep.
            signed_in = self.store.signed_in(USER, password)
            if signed_in or time.monotonic() >= until:
                break
            time.sleep(0.2)
        if signed_in is None and (token := self.legacy_token()) and self.accepted(with_token(token)):
            signed_in = with_token(token)
        if signed_in is None:
            state = "refused as well" if own else f"not in {self.state}"
            raise Fault(LOST.format(password=self.password_file, own=state), 2)
        self.store.headers = signed_in
        (self.state / "admin").unlink(missing_ok=True)

    def legacy_token(self) -> str | None:
        """The administrator's token that earlier versions of the stack kept beside the password."""
        try:
            return (self.secrets / "admin_token").read_text().strip() or None
        except OSError:
            return None

    def accepted(self, headers: Mapping[str, str]) -> bool:
        status, answer, _ = self.store.ask("GET", "/api/v2/me", headers=headers)
        if status not in (200, 401):
            raise Fault(f"InfluxDB answers GET /api/v2/me with {status}: {reason_of(answer)}")
        return status == 200

    def set_password(self, password: str) -> None:
        if self.store.signed_in(USER, password) is None:
            self.store.get("POST", f"/api/v2/users/{self.ids['user']}/password", {"password": password})
            print(f"user {USER}: password set to the one in {self.password_file}")

    def own_permissions(self) -> list[dict[str, Any]]:
        """The permissions of this program's own token. It reads and writes no samples, but may hand these rights on."""
        org, user = self.ids["org"], self.ids["user"]
        resources = [
            {"type": "buckets", "orgID": org},
            {"type": "authorizations", "orgID": org},
            {"type": "users", "id": user},
        ]
        both = [{"action": action, "resource": one} for one in resources for action in ("read", "write")]
        return [*both, {"action": "read", "resource": {"type": "orgs", "id": org}}]

    # -- the bucket ------------------------------------------------------------------------------------------------------
    def organization(self) -> str:
        """The id of the organization."""
        path = "/api/v2/orgs"
        status, answer, _ = self.store.ask("GET", path, query={"org": self.org})
        if status not in (200, 404):
            raise Fault(f"InfluxDB answers GET {path} with {status}: {reason_of(answer)}")
        found = answer.objects("orgs") if status == 200 and isinstance(answer, Answer) else []
        if not found:
            raise Fault(
                f"InfluxDB has no organization {self.org}: INFLUX_ORG has to name the one that it was set up with", 2
            )
        return found[0].text("id")

    def wanted(self) -> int:
        return seconds(DEFAULT) if self.retention is None else self.retention

    def present(self) -> tuple[str, int] | None:
        """The bucket's id and the seconds that it keeps samples for, if there is one."""
        found = self.store.get("GET", "/api/v2/buckets", query={"orgID": self.ids["org"], "limit": "100"})
        for bucket in found.objects("buckets"):
            if bucket.text("name") == self.bucket:
                return bucket.text("id"), sum(rule.number("everySeconds") for rule in bucket.objects("retentionRules"))
        return None

    def refuse_to_shorten(self) -> None:
        """Former releases took PSU_RETENTION for a new store alone, and told how to change the store's by hand.

        :raises Fault: the store keeps samples for longer than PSU_RETENTION says, and this program has never set it
        """
        if not self.retention or not (present := self.present()):
            return
        if not present[1] or present[1] > self.retention:
            raise Fault(
                f"PSU_RETENTION would delete samples: it is {spoken(self.retention)}, and the store, which a former release "
                f"set up, keeps them for {spoken(present[1])}. Take it out of .env, then docker compose up -d; after that it "
                "may be shortened",
                2,
            )

    def set_bucket(self) -> None:
        wanted = self.wanted()
        # Said in full: without the length of its shards a bucket's retention cannot become shorter than they are.
        rules = [{"type": "expire", "everySeconds": wanted, "shardGroupDurationSeconds": shard(wanted)}]
        if not (present := self.present()):
            body = {"orgID": self.ids["org"], "name": self.bucket, "retentionRules": rules}
            self.ids["bucket"] = self.store.get("POST", "/api/v2/buckets", body).text("id")
            print(f"bucket {self.bucket}: new")
            return
        self.ids["bucket"], before = present
        if self.retention not in (None, before):
            self.store.get("PATCH", f"/api/v2/buckets/{self.ids['bucket']}", {"retentionRules": rules})
            print(f"bucket {self.bucket}: keeps samples for {spoken(wanted)}, before for {spoken(before)}")

    # -- tokens ------------------------------------------------------------------------------------------------------------
    def kept(self, name: str) -> dict[str, Any]:
        try:
            found = json.loads((self.state / name).read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def keep(self, name: str, what: Mapping[str, Any]) -> None:
        write(self.state / name, json.dumps(what), 0o600)

    def make(self, name: str, permissions: list[dict[str, Any]], instead: tuple[str, ...]) -> None:
        """A new token in the place of all that are described so. It is written down before they are ended."""
        body = {"orgID": self.ids["org"], "description": instead[0], "permissions": permissions}
        made = self.store.get("POST", "/api/v2/authorizations", body)
        kept = {"id": made.text("id"), "token": made.text("token"), "instead": list(instead)}
        self.keep(name, kept)
        if name == "admin":
            self.store.headers = with_token(made.text("token"))
            self.end_others(kept)
        print(f"token for {'setup' if name == 'admin' else name}: new")

    def end_others(self, kept: Mapping[str, Any]) -> None:
        """End those that a token has replaced, and those of a run that was stopped before it could write them down."""
        ended = kept.get("instead", [OWN])
        found = self.store.get("GET", "/api/v2/authorizations", query={"orgID": self.ids["org"]})
        for other in found.objects("authorizations"):
            if other.get("description") in ended and other.text("id") != kept.get("id"):
                self.store.get("DELETE", f"/api/v2/authorizations/{other['id']}")

    def token(self, name: str, action: str, is_renewed: bool) -> None:
        """See that the service has a token that can do this one thing, and nothing else."""
        description = (f"psu {name}",)
        known = self.kept(name)
        if is_renewed or not known.get("id") or not self.does(str(known.get("token")), action):
            resource = {"type": "buckets", "id": self.ids["bucket"], "orgID": self.ids["org"]}
            self.make(name, [{"action": action, "resource": resource}], description)
            known = self.kept(name)
            if not self.does(known["token"], action):
                raise Fault(
                    f"InfluxDB made a token for {name} that cannot {action} bucket {self.bucket} and nothing else"
                )
        else:
            print(f"token for {name}: works, kept")
        self.hand_over(name, known["token"])
        # Not before: where the new one can't be written down, as on a full disk, the service goes on with the old one.
        self.end_others(known)

    def hand_over(self, name: str, token: str) -> None:
        file = self.tokens / name
        with contextlib.suppress(OSError, UnicodeDecodeError):
            if file.read_text() == token:
                return
        # The volume is mounted by the two services alone, whose users differ.
        write(file, token, 0o444)
        print(f"token for {name}: handed over; `docker compose restart {name}` if it runs already")

    def does(self, token: str, action: str) -> bool:
        """True if the store lets this token read, or write, and not the other."""
        return self.writes(token) == (action == "write") and self.reads(token) == (action == "read")

    def writes(self, token: str) -> bool:
        # A comment is no sample, and is taken like one.
        query = {"org": self.org, "bucket": self.bucket}
        status, answer, _ = self.store.ask("POST", "/api/v2/write", b"# psu", query=query, headers=with_token(token))
        return self.judged("a write", status, answer)

    def reads(self, token: str) -> bool:
        # As Grafana asks. SHOW would not do: to a token that may not read it gives an empty answer, not a refusal.
        query = {"db": self.bucket, "q": "SELECT psu FROM setup LIMIT 1"}
        status, answer, _ = self.store.ask("POST", "/query", b"", query=query, headers=with_token(token))
        return self.judged("a query", status, answer)

    def judged(self, what: str, status: int, answer: Any) -> bool:
        if status in (401, 403, 404):
            return False
        if status >= 300:
            raise Fault(f"InfluxDB answers {what} with {status}: {reason_of(answer)}")
        results = answer.objects("results") if isinstance(answer, Answer) and "results" in answer else []
        return not any("error" in result for result in results)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One run at a time: two would end each other's tokens."""
    try:
        with open(folder / ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except PermissionError as error:
        raise Fault(
            f"{error.filename}: this program has to be able to write there: run it as the volume's owner", 2
        ) from None


def main() -> int:
    parser = argparse.ArgumentParser(description="Sets InfluxDB up for the stack.")
    parser.add_argument(
        "--renew",
        action="append",
        default=[],
        choices=("admin", "telegraf", "grafana"),
        help="end this token and make a new one",
    )
    arguments = parser.parse_args()
    try:
        setup = Setup(os.environ)
        for folder in (setup.state, setup.tokens):
            if not folder.is_dir():
                raise Fault(f"{folder} is missing: compose.yaml mounts a volume there", 2)
        with locked(setup.state):
            setup.run(arguments.renew)
    except Fault as fault:
        print(fault, file=sys.stderr)
        return fault.code
    except OSError as error:
        print(f"{error.filename or 'a file'}: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted: the next run goes on from here", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
