-- Put in front of every script: the clock and the form of what an account's hash holds.
--
-- KEYS[1] is always that hash, the only key of every script. Its fields:
--   r|scope|…  t|scope|…            bucket   owed, at, rate              owed: taken and not refilled, in 1/60000 units
--   c|scope                         open     count, epoch                open leases with that scope
--   R|scope|w  T|scope|w  C|scope|w window   ends, used, reserved, epoch
--   l|request id                    lease    expires, claimed, state, start, prompt, completion, cost, n; n times what was
--                                            taken: window's end or 0, how much; n times from which field; scopes; note
--                                            state: 1 open, 0 reaped; the texts end with \0, but the note is the rest
--   due                             no open lease expires before this; as text
--   keep                            until then what calls count in the end is kept, for a seed; as text
--   d|request id                    kept     start, requests, tokens, nano-USD; scopes
-- Numbers lie there as doubles of 8 bytes: Lua's own, so reading and writing them is a copy. All are integers below
-- 2^53, which doubles hold exactly. Times are ms since 1970.
-- Those that leave a script do so as integers, which Redis takes from Lua whole; '..' and tostring keep 14 digits.
-- Every script reads and checks all it needs before its first write: Redis does not roll back.
-- A script's body runs each time, so each name that a function here borrows from it costs: few do.

local HASH, UNIT, KEEP_MS, LARGEST = KEYS[1], 60000, 2592000000, 9007199254740991
local BUCKET, OPEN, WINDOW, LEASE = '<ddd', '<dd', '<dddd', '<dddddddd'
local call, read, write, rep, sub, max, min = redis.call, struct.unpack, struct.pack, string.rep, string.sub, math.max, math.min

-- ARGV[1] is a test's clock in ms, or '' for Redis's own.
local now = tonumber(ARGV[1])
if not now then
  local t = call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end

-- A clock that went back refills nothing, and what was refilled is not refilled again.
local function refill(owed, at, rate, now)
  local passed = now > at and now - at or 0
  owed = owed - passed * rate
  return owed > 0 and owed or 0, at + passed
end

local function text(number) return string.format('%.0f', number) end

-- Stops the script where a value that is not ours has one of our names.
local function check_size(value, size)
  if #value ~= size then error('not a counter of ours') end
end
