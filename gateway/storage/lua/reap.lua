-- Closes an expired lease whose estimated ledger row is written: what that row says stays charged, its slot is freed,
-- and the mark stays so that real figures which come later replace it once. A part that was cut to the room there was,
-- or reserved at the most, becomes what the row says, or counters and ledger would differ for ever.
--
-- ARGV: 2 request id
-- Returns 1: reaped now, 0: it was renewed, settled or reaped meanwhile.
local now, field = clock(), 'l|' .. ARGV[2]
local value = call('HGET', HASH, field)
if not value then return 0 end
local lease = decode(value)
if lease[STATE] ~= 1 or lease[EXPIRES] > now then return 0 end
local is = {r = 1, R = 1, t = lease[PROMPT] + lease[COMPLETION], C = lease[COST], c = 0}
is.T = is.t
local took, put = lease[TOOK], {}
for n, counter in ipairs(taken_from(took)) do
  local name, ends, was = took[3 * n - 2], took[3 * n - 1], took[3 * n]
  took[3 * n] = is[name:sub(1, 1)]
  local new = adjust(name, counter, ends, was, took[3 * n], true, true, now)
  if new then put[#put + 1], put[#put + 2] = name, new end
end
lease[STATE], lease[EXPIRES] = 0, now
put[#put + 1], put[#put + 2] = field, pack(lease)
call('HSET', HASH, unpack(put))
return 1
