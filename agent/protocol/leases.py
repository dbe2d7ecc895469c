"""Parsing of requests for a lease: to take one, renew it, take it from another holder, or give it back."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator

from agent.protocol.errors import Refusal
from agent.protocol.payloads import checked_holder, checked_id, decoded, finite, is_id, load_object, shorten

#: s. A lease is for at least a second, and for a week at most: its holder may vanish.
SHORTEST_LEASE, LONGEST_LEASE = 1.0, 7 * 86_400.0

_EXAMPLE = '{"holder": "ci-42", "ttl": 7200}'
_RELEASE = '{"holder": "ci-42", "release": true}'


def _checked_ttl(value: object) -> float | None:
    if value is None:
        return None
    seconds = finite(value)
    if seconds is None or not SHORTEST_LEASE <= seconds <= LONGEST_LEASE:
        raise ValueError(f"takes {SHORTEST_LEASE:g} to {LONGEST_LEASE:g} s")
    return seconds


def _checked_flag(value: object) -> object:
    if isinstance(value, bool):
        return value
    raise ValueError("takes true or false")


class LeaseRequest(BaseModel):
    """A client's request: the lease for ``holder`` for ``ttl`` s from now on, or its end (``release``).

    ``force``: also from another holder.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    holder: Annotated[str, BeforeValidator(checked_holder)]
    ttl: Annotated[float | None, BeforeValidator(_checked_ttl)] = None
    force: Annotated[bool, BeforeValidator(_checked_flag)] = False
    release: Annotated[bool, BeforeValidator(_checked_flag)] = False
    id: Annotated[str | None, BeforeValidator(checked_id)] = None

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        if self.release and self.ttl is not None:
            raise ValueError("ttl can't go together with release; send one of the two")
        if not self.release and self.ttl is None:
            raise ValueError("ttl is missing; give the s for which the lease is to hold, or release to give it back")
        return self


def parse_lease(payload: bytes) -> LeaseRequest:
    """Read a request from the payload of a ``…/lease/set`` message.

    :raises Refusal: ``bad_payload`` with the reason
    """
    text = decoded(payload)
    if not text.strip():
        raise Refusal("bad_payload", f"it is empty; send {_EXAMPLE}, or {_RELEASE} to give it back")
    data = load_object(text, _EXAMPLE)
    known_id = data["id"] if is_id(data.get("id")) else None
    # A null is most often a template that found no value.
    empty = [name for name, value in data.items() if value is None and name != "id"]
    if empty:
        raise Refusal("bad_payload", f"{shorten(empty[0])} is null; send a value, or leave it out", known_id)
    try:
        return LeaseRequest.model_validate(data)
    except ValidationError as error:
        raise Refusal("bad_payload", "; ".join(_faults(error)), known_id) from None


def _faults(error: ValidationError) -> list[str]:
    faults = []
    for detail in error.errors(include_url=False, include_context=True)[:8]:
        name = str(detail["loc"][0]) if detail["loc"] else ""
        match detail["type"]:
            case "extra_forbidden":
                faults.append(f"there is no field {shorten(name)}; fields: {', '.join(LeaseRequest.model_fields)}")
            case "missing":
                faults.append(f"{name} is missing; send an object such as {_EXAMPLE}")
            case "value_error" if name:
                faults.append(f"{name} {detail['ctx']['error']}, not {shorten(detail['input'])}")
            case "value_error":
                faults.append(str(detail["ctx"]["error"]))
            case _:
                faults.append(f"{name}: {detail['msg']}, not {shorten(detail['input'])}")
    return faults
