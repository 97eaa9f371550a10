-- Raises an open lease to what a long session has used so far. Cumulative, so that sending it twice changes nothing.
--
-- ARGV: 2 request id, 3 tokens so far, 4 nano-USD so far
-- Returns 1: the lease holds at least that now, 0: no open lease.
local now, field = clock(), 'l|' .. ARGV[2]
local is = {t = tonumber(ARGV[3]), C = tonumber(ARGV[4])}
is.T = is.t
local value = call('HGET', HASH, field)
if not value then return 0 end
local lease = decode(value)
if lease[STATE] ~= 1 then return 0 end
local took, put = lease[TOOK], {}
for n, counter in ipairs(taken_from(took)) do
  local name, ends, was = took[3 * n - 2], took[3 * n - 1], took[3 * n]
  local so_far = is[name:sub(1, 1)]
  if so_far and so_far > was then
    took[3 * n] = so_far
    local new = adjust(name, counter, ends, was, so_far, true, false, now)
    if new then put[#put + 1], put[#put + 2] = name, new end
  end
end
-- What a reaper would write: the prompt stays, the rest was said.
lease[COMPLETION] = math.max(lease[COMPLETION], is.t - lease[PROMPT])
lease[COST] = math.max(lease[COST], is.C)
put[#put + 1], put[#put + 2] = field, pack(lease)
call('HSET', HASH, unpack(put))
return 1
