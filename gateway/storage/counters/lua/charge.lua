-- Raises an open lease to what a long session has used so far. Cumulative, so that sending it twice changes nothing.
--
-- ARGV: 2 request id, 3 tokens so far, 4 nano-USD so far
-- Returns 1: the lease holds at least that now, 0: no open lease.
local field = 'l|' .. ARGV[2]
local is = {t = tonumber(ARGV[3]), C = tonumber(ARGV[4])}
is.T = is.t
local value = call('HGET', HASH, field)
if not value then return 0 end
local lease, names, took, at = read_lease(value)
if lease[STATE] ~= 1 then return 0 end
local put = {}
local have = taken_from(names)
for n, name in ipairs(names) do
  local ends, was, so_far = took[2 * n - 1], took[2 * n], is[sub(name, 1, 1)]
  if so_far and so_far > was then
    took[2 * n] = so_far
    local new = adjust(name, have[n + 1], ends, was, so_far, true, false, now)
    if new then put[#put + 1], put[#put + 2] = name, new end
  end
end
-- What a reaper would write: the prompt stays, the rest was said.
lease[COMPLETION] = max(lease[COMPLETION], is.t - lease[PROMPT])
lease[COST] = max(lease[COST], is.C)
put[#put + 1], put[#put + 2] = field, write_lease(lease, names, took, sub(value, at))
call('HSET', HASH, unpack(put))
return 1
