-- Takes one call from a caller's bucket, if there is one left in it. Not an account's hash: KEYS[1] is a value of its
-- own, {owed, at} as in a bucket above, with `limit` calls a minute and a minute's worth when full.
-- ARGV: clock, limit. Returns {1 taken or 0 refused, calls left, ms until full, ms until the next is to be had}.

local limit, now = tonumber(ARGV[2]), clock()
local stored = call('GET', HASH)
local owed, at = 0, now
if stored then
  owed, at = unpack(decode(stored))
  owed, at = refill(owed, at, limit, now)
end
local taken = owed + UNIT <= limit * UNIT
if taken then owed = owed + UNIT end
local full = math.ceil(owed / limit)
call('SET', HASH, pack({owed, at}), 'PX', full + 1000)
return {taken and 1 or 0, math.floor(limit - owed / UNIT), full, taken and 0 or math.ceil((owed + UNIT - limit * UNIT) / limit)}
