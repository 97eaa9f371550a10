-- Closes an expired lease whose estimated ledger row is written: what that row says stays charged, its slot is freed,
-- and the mark stays so that real figures which come later replace it once. A part that was cut to the room there was,
-- or reserved at the most, becomes what the row says, or counters and ledger would differ for ever.
--
-- ARGV: 2 request id, 3 1: its gateway is known to be gone, so it need not have expired
-- Returns 1: reaped now, 0: it was renewed, settled or reaped meanwhile.
local field = 'l|' .. ARGV[2]
local value = call('HGET', HASH, field)
if not value then return 0 end
local lease, names, took, at = read_lease(value)
if lease[STATE] ~= 1 or (lease[EXPIRES] > now and ARGV[3] ~= '1') then return 0 end
local is = {r = 1, R = 1, t = lease[PROMPT] + lease[COMPLETION], C = lease[COST], c = 0}
is.T = is.t
local put = {}
local have = taken_from(names)
for n, name in ipairs(names) do
  local was = took[2 * n]
  took[2 * n] = is[sub(name, 1, 1)]
  local new = adjust(name, have[n + 1], took[2 * n - 1], was, took[2 * n], true, true, now)
  if new then put[#put + 1], put[#put + 2] = name, new end
end
lease[STATE], lease[EXPIRES] = 0, now
put[#put + 1], put[#put + 2] = field, write_lease(lease, names, took, sub(value, at))
keep(have[1], lease, sub(value, at), ARGV[2], 1, is.T, is.C, put, now)
call('HSET', HASH, unpack(put))
return 1
