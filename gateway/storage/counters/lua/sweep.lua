-- Claims the leases that expired, for a reaper to write their ledger rows, and drops what is long over, and what was kept
-- for a seed.
--
-- ARGV: 2 ms a claim holds, 3 ms that reaped leases and ended windows are kept, 4 most leases to claim
-- Returns {open leases left, id, lease, id, lease, …}; a lease as it is stored.
local claim_ms, keep_ms, most = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local due, open, found, put, drop = nil, 0, {0}, {}, {}
local keep = call('HGET', HASH, 'keep')
local is_kept = (tonumber(keep or 0) or 0) > now
if keep and not is_kept then drop[1] = 'keep' end
local all = call('HGETALL', HASH)
for n = 1, #all, 2 do
  local field, value = all[n], all[n + 1]
  local kind = sub(field, 1, 2)
  if kind == 'l|' then
    local lease, names, took, at = read_lease(value)
    if lease[STATE] == 1 then
      open = open + 1
      if lease[EXPIRES] <= now and lease[CLAIMED] <= now and #found < 2 * most then
        lease[CLAIMED] = now + claim_ms
        value = write_lease(lease, names, took, sub(value, at))
        put[#put + 1] = {field, value}
        found[#found + 1], found[#found + 2] = sub(field, 3), value
      end
      local claimable = max(lease[EXPIRES], lease[CLAIMED])
      due = due and min(due, claimable) or claimable
    elseif lease[EXPIRES] + keep_ms <= now then drop[#drop + 1] = field end
  elseif kind == 'd|' then
    if not is_kept then drop[#drop + 1] = field end
  elseif kind == 'r|' or kind == 't|' then
    check_size(value, 24)
    local owed, at, rate = read(BUCKET, value)
    -- Not as soon as it is full: a lease that took from it may still be settled by more than it took.
    if at + keep_ms <= now and refill(owed, at, rate, now) == 0 then drop[#drop + 1] = field end
  elseif kind == 'R|' or kind == 'T|' or kind == 'C|' then
    check_size(value, 32)
    if read('<d', value) + keep_ms <= now then drop[#drop + 1] = field end
  end
end
found[1] = open
for _, pair in ipairs(put) do call('HSET', HASH, pair[1], pair[2]) end
for _, field in ipairs(drop) do call('HDEL', HASH, field) end
if not due then call('HDEL', HASH, 'due')
else
  call('HSET', HASH, 'due', text(due))
  call('PEXPIRE', HASH, KEEP_MS)
end
return found
