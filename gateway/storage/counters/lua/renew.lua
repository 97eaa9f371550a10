-- Makes open leases valid again for a while, also ones that had expired and were not reaped yet.
--
-- ARGV: 2 ms they are valid from now, 3… request ids
-- Returns the ids of which nothing is known here any more; a reaped lease is known.
local expires, lost, put = now + ARGV[2], {}, {}
local due = tonumber(call('HGET', HASH, 'due') or 0)
local first = due
for n = 3, #ARGV do
  local field = 'l|' .. ARGV[n]
  local value = call('HGET', HASH, field)
  local lease, names, took, at
  if value then lease, names, took, at = read_lease(value) end
  if not lease then lost[#lost + 1] = ARGV[n]
  elseif lease[STATE] == 1 then
    -- Never less than before: the clock may have gone back. With its claim gone it may be due before `due`, though.
    lease[EXPIRES], lease[CLAIMED] = max(lease[EXPIRES], expires), 0
    first = min(first, lease[EXPIRES])
    put[#put + 1] = {field, write_lease(lease, names, took, sub(value, at))}
  end
end
for _, pair in ipairs(put) do call('HSET', HASH, pair[1], pair[2]) end
if first < due then call('HSET', HASH, 'due', text(first)) end
if #put > 0 then call('PEXPIRE', HASH, KEEP_MS) end
return lost
