-- Replaces a lease's estimate by what was really used, once, whatever way the call ended.
--
-- ARGV: 2 request id, 3 doubles: requests for rates, requests for windows, tokens, nano-USD,
--       4 1: the reservation may still be on its way, so leave a mark by which it takes nothing
-- Returns 1: the difference was applied (to an open or a reaped lease), 0: no such lease, nothing done.
-- A charge or refund goes to every counter that was taken from, also below zero, never above full.
local field = 'l|' .. ARGV[2]
local rate, window, tokens, cost = read('<dddd', ARGV[3])
local value = call('HGET', HASH, field)
if not value then
  if ARGV[4] == '1' then
    call('HSET', HASH, field, write_lease({now, 0, 0, now, 0, 0, 0}, {}, {}, '\0'))
    call('PEXPIRE', HASH, KEEP_MS)
  end
  return 0
end
local lease, names, took, note_at = read_lease(value)
local is_open = lease[STATE] == 1
if ARGV[4] == '1' and not is_open and #names == 0 then return 0 end
local is, put, at = {r = rate, R = window, t = tokens, T = tokens, C = cost, c = 0}, {}, 0
local have = taken_from(names)
for n, name in ipairs(names) do
  local new = adjust(name, have[n + 1], took[2 * n - 1], took[2 * n], is[sub(name, 1, 1)], is_open, true, now)
  if new then
    put[at + 1], put[at + 2] = name, new
    at = at + 2
  end
end
if have[1] then
  keep(have[1], lease, sub(value, note_at), ARGV[2], window, tokens, cost, put, now)
  at = #put
end
-- This order: a full Redis lets a script write if it begins by deleting, and what was used must not be lost.
call('HDEL', HASH, field)
if at > 0 then call('HSET', HASH, unpack(put)) end
return 1
