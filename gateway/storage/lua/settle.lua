-- Replaces a lease's estimate by what was really used, once, whatever way the call ended.
--
-- ARGV: 2 request id, 3 requests for rates, 4 requests for windows, 5 tokens, 6 nano-USD,
--       7 1: the reservation may still be on its way, so leave a mark by which it takes nothing
-- Returns 1: the difference was applied (to an open or a reaped lease), 0: no such lease, nothing done.
-- A charge or refund goes to every counter that was taken from, also below zero, never above full.
local now, field = clock(), 'l|' .. ARGV[2]
local is = {r = tonumber(ARGV[3]), R = tonumber(ARGV[4]), t = tonumber(ARGV[5]), C = tonumber(ARGV[6]), c = 0}
is.T = is.t
local value = call('HGET', HASH, field)
if not value then
  if ARGV[7] == '1' then
    call('HSET', HASH, field, pack({now, 0, now, 0, 0, 0, {}, '', '', 0}))
    call('PEXPIRE', HASH, KEEP_MS)
  end
  return 0
end
local lease = decode(value)
local took, put = lease[TOOK], {}
if ARGV[7] == '1' and lease[STATE] == 0 and #took == 0 then return 0 end
for n, counter in ipairs(taken_from(took)) do
  local name, ends, was = took[3 * n - 2], took[3 * n - 1], took[3 * n]
  local new = adjust(name, counter, ends, was, is[name:sub(1, 1)], lease[STATE] == 1, true, now)
  if new then put[#put + 1], put[#put + 2] = name, new end
end
-- This order: a full Redis lets a script write if it begins by deleting, and what was used must not be lost.
call('HDEL', HASH, field)
if #put > 0 then call('HSET', HASH, unpack(put)) end
return 1
