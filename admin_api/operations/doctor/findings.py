"""What a check finds, and how checks are run: all at once, each within its time."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

Status = Literal["ok", "warning", "problem"]
ORDER: Final[tuple[Status, ...]] = ("problem", "warning", "ok")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One sentence, and what to do about it; `cure` is None for what is ok."""

    check: str
    status: Status
    text: str
    cure: str | None = None


class NotChecked(Exception):
    """A check that could not be made, for a reason that another check reports."""


class Findings:
    """Collects what one check finds."""

    def __init__(self, check: str) -> None:
        self._check = check
        self.all: list[Finding] = []

    def ok(self, text: str) -> None:
        """Something is as it should be."""
        self.all.append(Finding(check=self._check, status="ok", text=text))

    def warn(self, text: str, cure: str) -> None:
        """It works, but not for ever or not for all."""
        self.all.append(Finding(check=self._check, status="warning", text=text, cure=cure))

    def problem(self, text: str, cure: str) -> None:
        """It does not work, or is not safe."""
        self.all.append(Finding(check=self._check, status="problem", text=text, cure=cure))


Check = Callable[[Findings], Awaitable[None]]


async def run_checks(checks: Mapping[str, Check], *, bound_s: float) -> Sequence[Finding]:
    """All at once, in the order of their names here. One that takes longer than `bound_s`, or breaks, is a problem."""
    found = await asyncio.gather(*(_run(name, check, bound_s) for name, check in checks.items()))
    return [finding for of_check in found for finding in of_check]


async def _run(name: str, check: Check, bound_s: float) -> Sequence[Finding]:
    findings = Findings(name)
    try:
        async with asyncio.timeout(bound_s):
            await check(findings)
    except NotChecked as exc:
        findings.warn(f"Not checked: {exc}", "First do what the other findings say.")
    except TimeoutError:
        findings.problem(
            f"The check was not done within {bound_s:g} s.",
            "Look whether the server hangs or a firewall drops packets; a slow one is given more by --timeout-s.",
        )
    except Exception as exc:
        # One check that breaks must not hide what the others found.
        findings.problem(
            f"The check broke: {type(exc).__name__}: {exc}", "Report it as a fault of LiteMaaS, with this text."
        )
    return findings.all
