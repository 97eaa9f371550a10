"""Breaks the Lua scripts in one place at a time and tells which test notices: `python tests/limits/mutants.py [word …]`.

Run by hand, some minutes; words choose mutants by name. Exits with 1 if one of them passes all tests.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("gateway", "deploy", "tests", "pyproject.toml")
TESTS = ("tests/limits/test_scripts.py", "tests/limits/test_stateful.py")


class Mutant(NamedTuple):
    name: str
    script: str
    old: str
    new: str


MUTANTS = (
    # The head that all scripts share.
    Mutant("refill above full", "counters", "math.max(0, owed - math.max(0, now - at) * rate)", "owed - math.max(0, now - at) * rate"),
    Mutant("a clock that went back takes away", "counters", "math.max(0, now - at) * rate)", "(now - at) * rate)"),
    Mutant("refill twice after a step back", "counters", "rate), math.max(at, now)", "rate), now"),
    Mutant("refund above full", "counters", "pack({math.max(0, owed + (is - was) * UNIT), at, v[3]})", "pack({owed + (is - was) * UNIT, at, v[3]})"),
    Mutant("no refund", "counters", "math.max(0, owed + (is - was) * UNIT)", "math.max(owed, owed + (is - was) * UNIT)"),
    Mutant("the slot of a reaped lease is freed again", "counters", "if held and closes then return", "if closes then return"),
    Mutant("a window that is over is charged", "counters", "if v[1] ~= ends then return nil end", ""),
    Mutant("a reaped estimate is charged on top", "counters", "pack({v[1], v[2] + (is - was), v[3], v[4]})", "pack({v[1], v[2] + is, v[3], v[4]})"),
    Mutant("the reservation stays after settling", "counters", "v[2] + is, v[3] - was, v[4]", "v[2] + is, v[3], v[4]"),
    Mutant("reserved never below nothing", "counters", "v[3] - was, v[4]})", "math.max(0, v[3] - is), v[4]})"),
    Mutant("14 digits only", "counters", "string.format('%.0f', number)", "tostring(number / 10)"),
    Mutant("a deep debt is told as another number", "reserve", "math.max(a * UNIT - owed, -LARGEST)", "a * UNIT - owed"),
    Mutant("large sums before differences", "counters", "v[3] + (is - was)", "v[3] + is - was"),
    # Reserve.
    Mutant("written before all is checked", "reserve", "  local v = value and decode(value)\n", "  local v = value and decode(value)\n  call('HSET', HASH, 'due', text(due))\n"),
    Mutant("a refusal renews the expiry", "reserve", "if reply[1] == 0 or mode", "if reply[1] == 0 then call('PEXPIRE', HASH, KEEP_MS + 1) end\nif reply[1] == 0 or mode"),
    Mutant("the same id takes again", "reserve", "if have[1] and mode ~= 'look' then", "if false then"),
    Mutant("shadow limits refuse", "reserve", "if want > left and want > 0 and shadow == 0 then", "if want > left and want > 0 then"),
    Mutant("shadow buckets refuse", "reserve", "if want * UNIT > left and want > 0 and shadow == 0", "if want * UNIT > left and want > 0"),
    Mutant("shadow slots refuse", "reserve", "if left < 1 and shadow == 0", "if left < 1"),
    Mutant("what is held is not counted", "reserve", "amount - used - reserved, reserved, b", "amount - used, reserved, b"),
    Mutant("one more than the limit", "reserve", "if want > left and want > 0 and shadow", "if want > left + 1 and want > 0 and shadow"),
    Mutant("one slot more", "reserve", "if left < 1 and", "if left < 0 and"),
    Mutant("a debt refuses who wants nothing", "reserve", "if want * UNIT > left and want > 0 and", "if want * UNIT > left and"),
    Mutant("a spent window refuses who wants nothing", "reserve", "if want > left and want > 0 and", "if want > left and"),
    Mutant("no epochs for windows", "reserve", "not v or v[4] < epoch or v[1] ~= b and v[1] > a", "not v or v[1] ~= b and v[1] > a"),
    Mutant("no epochs for slots", "reserve", "if not v or v[2] < epoch then", "if not v then"),
    Mutant("an absent counter is nothing used", "reserve", "elseif not v or v[4] < epoch or", "elseif v and v[4] < epoch or v and"),
    Mutant("completion not cut to what is left", "reserve", "want = cut(size, left)", "want = size[1] + size[2]"),
    Mutant("completion cut to nothing", "reserve", "math.max(math.min(1, size[1] + size[2]), size[1]", "math.max(0, size[1]"),
    Mutant("completion not cut to what a bucket holds", "reserve", "want = cut(size, a)", "want = size[1] + size[2]"),
    Mutant("a maximum is cut too", "reserve", "if size and maximum == 0 then want = cut(size, left)", "if size then want = cut(size, left)"),
    Mutant("a maximum is cut to the bucket", "reserve", "if size and maximum == 0 then want = cut(size, a)", "if size then want = cut(size, a)"),
    Mutant("the maximum is not asked for", "reserve", "want = maximum == 1 and size[3] or size[1] + size[2]", "want = size[1] + size[2]"),
    Mutant("the next window goes on from this one", "reserve", "used, reserved, made = 0, 0, epoch end", "reserved, made = 0, epoch end"),
    Mutant("late calls are counted where they do not belong", "reserve", "local is_ahead = v and v[1] > b", "local is_ahead = false"),
    Mutant("ahead after a move of time zone", "reserve", "if is_ahead and (v[4] == epoch or b <= now) then", "if is_ahead then"),
    Mutant("an old record decides on windows", "reserve", "if v and v[4] > epoch and not (is_ahead and b <= now) then", "if false then"),
    Mutant("a rollover by an old record looks new", "reserve", "used, reserved, made = 0, 0, epoch end", "used, reserved = 0, 0 end"),
    Mutant("shared counters take the last part", "reserve", "elseif new and want > took[before + 2] then", "elseif new then"),
    Mutant("shared counters take the first part", "reserve", "elseif new and want > took[before + 2] then", "elseif false then"),
    Mutant("any clock will do", "reserve", "math.abs(start - now) > 5000 and", "false and"),
    Mutant("lost leases are refused", "reserve", "if refused and mode ~= 'force'", "if refused"),
    Mutant("looking takes", "reserve", "if reply[1] == 0 or mode == 'look'", "if reply[1] == 0"),
    Mutant("a refusal takes", "reserve", "if reply[1] == 0 or mode == 'look' then return reply end", "if mode == 'look' then return reply end"),
    Mutant("due forgets the earlier one", "reserve", "text(math.min(due, expires))", "text(expires)"),
    Mutant("keys without an end", "reserve", "call('PEXPIRE', HASH, KEEP_MS)", ""),
    # Settle, charge, reap.
    Mutant("settling leaves the lease", "settle", "call('HDEL', HASH, field)", ""),
    Mutant("no mark of what was given back", "settle", "call('HSET', HASH, field, pack({now, 0, now, 0, 0, 0, {}, '', '', 0}))", ""),
    Mutant("giving back twice takes the mark away", "settle", "if ARGV[7] == '1' and lease[STATE] == 0 and #took == 0 then return 0 end", ""),
    Mutant("a reaped call is not given back", "settle", "lease[STATE] == 0 and #took == 0 then", "lease[STATE] == 0 then"),
    Mutant("a mark without an end", "settle", "    call('PEXPIRE', HASH, KEEP_MS)\n", ""),
    Mutant("a late settle finds its estimate reserved", "settle", "lease[STATE] == 1, true, now)", "true, true, now)"),
    Mutant("writing first when full", "settle", "call('HDEL', HASH, field)\nif #put > 0 then call('HSET', HASH, unpack(put)) end", "if #put > 0 then call('HSET', HASH, unpack(put)) end\ncall('HDEL', HASH, field)"),
    Mutant("charges add up", "charge", "if so_far and so_far > was then", "if so_far then so_far = so_far + was"),
    Mutant("charges lower", "charge", "if so_far and so_far > was then", "if so_far then"),
    Mutant("a charge is not remembered", "charge", "took[3 * n] = so_far", ""),
    Mutant("a reaped lease is charged", "charge", "if lease[STATE] ~= 1 then return 0 end", ""),
    Mutant("a charge is not what a reaper would write", "charge", "lease[COMPLETION] = math.max(lease[COMPLETION], is.t - lease[PROMPT])", ""),
    Mutant("a renewed lease is reaped", "reap", "or lease[EXPIRES] > now then", "then"),
    Mutant("reaping closes twice", "reap", "lease[STATE] ~= 1 or", ""),
    Mutant("reaping gives the estimate back", "reap", "was, took[3 * n], true, true", "was, 0, true, true"),
    Mutant("what was reserved stays charged, not what the row says", "reap", "took[3 * n] = is[name:sub(1, 1)]", ""),
    Mutant("no mark of a reaped lease", "reap", "put[#put + 1], put[#put + 2] = field, pack(lease)", "call('HDEL', HASH, field)"),
    # Renew, sweep, seed.
    Mutant("renewing revives the dead", "renew", "elseif lease[STATE] == 1 then", "else lease[STATE] = 1"),
    Mutant("a claim survives a renewal", "renew", "math.max(lease[EXPIRES], expires), 0", "math.max(lease[EXPIRES], expires), lease[CLAIMED]"),
    Mutant("a renewal after a step back is due before it is said to be", "renew", "if first < due then", "if false then"),
    Mutant("a renewal may shorten", "renew", "math.max(lease[EXPIRES], expires)", "expires"),
    Mutant("lost leases are not told", "renew", "lost[#lost + 1] = ARGV[n]", "lost = {}"),
    Mutant("claims do not hold", "sweep", "and lease[CLAIMED] <= now", ""),
    Mutant("any number of claims", "sweep", "and #found < 2 * most", ""),
    Mutant("full buckets go while calls are open", "sweep", "if v[2] + keep_ms <= now and refill", "if refill"),
    Mutant("windows go while they last", "sweep", "if decode(value)[1] + keep_ms <= now", "if decode(value)[1] - keep_ms <= now"),
    Mutant("marks go at once", "sweep", "elseif lease[EXPIRES] + keep_ms <= now", "elseif lease[EXPIRES] <= now"),
    Mutant("a sweep does not tell when the next is due", "sweep", "due = due and math.min(due, at) or at", "due = due and math.max(due, at) or at"),
    Mutant("seeds always write", "seed", "elseif not v or v[4] < epoch and", "elseif true or not v or v[4] < epoch and"),
    Mutant("seeds of slots always write", "seed", "if not v or v[2] < epoch then need", "if true then need"),
    Mutant("old seeds write", "seed", "or v[4] == epoch and v[1] < ends", "or v[1] < ends"),
    Mutant("late seeds pull back", "seed", "v[4] < epoch and (v[1] <= ends or ends > now)", "v[4] < epoch"),
    Mutant("seeds forget open leases", "seed", "counter[5] = counter[5] + took[at + 2]", ""),
    Mutant("seeds do not tell leases", "seed", "for name, lease in pairs(changed) do call('HSET', HASH, name, pack(lease)) end", ""),
    Mutant("seeds count reaped leases", "seed", "if is_open then counter[5]", "if true then counter[5]"),
    Mutant("slots are counted for reaped leases", "seed", "kind == 'c' and is_open or", "kind == 'c' or"),
    Mutant("real figures do not reach a counter made after the reap", "seed", "or kind ~= 'c' and starts <= lease[START]", "or is_open and kind ~= 'c' and starts <= lease[START]"),
    Mutant("seeds count leases of other windows", "seed", "starts <= lease[START] and lease[START] < ends", "true"),
    Mutant("seeds mistake scopes", "seed", "(' ' .. lease[SCOPES] .. ' '):find(' ' .. scope .. ' ', 1, true)", "lease[SCOPES]:find(scope, 1, true)"),
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


def run(folder: Path, *, tests: tuple[str, ...]) -> str | None:
    """The first test that fails."""
    argv = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-k", "not cluster", *tests]
    env = os.environ | {"LITEMAAS_TEST_SHRINKS": "0", "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, check=False)
    failed = re.search(r"^(?:FAILED|ERROR) \S+::(\S+)", done.stdout, re.MULTILINE)
    if done.returncode and not failed:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])
    return failed[1] if failed else None


def main(words: list[str]) -> int:
    chosen = [m for m in MUTANTS if not words or any(word in m.name for word in words)]
    survived = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_checkout(folder)
        for mutant in chosen:
            script = folder / "gateway" / "storage" / "lua" / f"{mutant.script}.lua"
            sound = script.read_text()
            script.write_text(apply(mutant, sound))
            caught_by = run(folder, tests=TESTS)
            script.write_text(sound)
            survived += caught_by is None
            print(f"{mutant.script:9}{mutant.name:55}{caught_by or 'SURVIVED'}", flush=True)
    print(f"{len(chosen) - survived} of {len(chosen)} caught")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
