-- Takes one call from a caller's bucket, if there is one left in it. Not an account's hash: KEYS[1] is a value of its
-- own, owed and at as in a bucket above, with `limit` calls a minute and a minute's worth when full.
-- ARGV: clock, limit. Returns {1 taken or 0 refused, calls left, ms until full, ms until the next is to be had}.

local limit = tonumber(ARGV[2])
local stored = call('GET', HASH)
local owed, at = 0, now
if stored then
  owed, at = read(OPEN, stored)
  owed, at = refill(owed, at, limit, now)
end
local taken = owed + UNIT <= limit * UNIT
if taken then owed = owed + UNIT end
local full = math.ceil(owed / limit)
call('SET', HASH, write(OPEN, owed, at), 'PX', full + 1000)
return {taken and 1 or 0, math.floor(limit - owed / UNIT), full, taken and 0 or math.ceil((owed + UNIT - limit * UNIT) / limit)}
