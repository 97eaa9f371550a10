-- Claims the leases that expired, for a reaper to write their ledger rows, and drops what is long over.
--
-- ARGV: 2 ms a claim holds, 3 ms that reaped leases and ended windows are kept, 4 most leases to claim
-- Returns {open leases left, id, lease, id, lease, …}; a lease as it is stored.
local now = clock()
local claim_ms, keep_ms, most = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local due, open, found, put, drop = nil, 0, {0}, {}, {}
local all = call('HGETALL', HASH)
for n = 1, #all, 2 do
  local field, value = all[n], all[n + 1]
  local kind = field:sub(1, 2)
  if kind == 'l|' then
    local lease = decode(value)
    if lease[STATE] == 1 then
      open = open + 1
      if lease[EXPIRES] <= now and lease[CLAIMED] <= now and #found < 2 * most then
        lease[CLAIMED] = now + claim_ms
        value = pack(lease)
        put[#put + 1] = {field, value}
        found[#found + 1], found[#found + 2] = field:sub(3), value
      end
      local at = math.max(lease[EXPIRES], lease[CLAIMED])
      due = due and math.min(due, at) or at
    elseif lease[EXPIRES] + keep_ms <= now then drop[#drop + 1] = field end
  elseif kind == 'r|' or kind == 't|' then
    local v = decode(value)
    -- Not as soon as it is full: a lease that took from it may still be settled by more than it took.
    if v[2] + keep_ms <= now and refill(v[1], v[2], v[3], now) == 0 then drop[#drop + 1] = field end
  elseif kind == 'R|' or kind == 'T|' or kind == 'C|' then
    if decode(value)[1] + keep_ms <= now then drop[#drop + 1] = field end
  end
end
found[1] = open
for _, pair in ipairs(put) do call('HSET', HASH, pair[1], pair[2]) end
for _, field in ipairs(drop) do call('HDEL', HASH, field) end
if due then call('HSET', HASH, 'due', text(due)) else call('HDEL', HASH, 'due') end
return found
