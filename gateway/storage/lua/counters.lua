-- Put in front of every script: the clock and the form of what an account's hash holds.
--
-- KEYS[1] is always that hash, the only key of every script. Its fields:
--   r|scope|…  t|scope|…            bucket   {owed, at, rate}            owed: taken and not refilled, in 1/60000 units
--   c|scope                         open     {count, epoch}              open leases with that scope
--   R|scope|w  T|scope|w  C|scope|w window   {ends, used, reserved, epoch}
--   l|request id                    lease    {expires, state, start, prompt, completion, cost, took, scopes, note, claimed}
--                                            took: {field, window's end or 0, taken, …}; state: 1 open, 0 reaped
--   due                             no open lease expires before this
-- Times are ms since 1970. All numbers are integers below 2^53, so that Lua's doubles hold them exactly.
-- Those that leave a script do so as integers, which Redis takes from Lua whole; '..' and tostring keep 14 digits.
-- Every script reads and checks all it needs before its first write: Redis does not roll back.

local HASH, UNIT, KEEP_MS, LARGEST = KEYS[1], 60000, 2592000000, 9007199254740991
local EXPIRES, STATE, START, PROMPT, COMPLETION, COST, TOOK, SCOPES, NOTE, CLAIMED = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
local pack, decode, call = cmsgpack.pack, cmsgpack.unpack, redis.call

-- ARGV[1] is a test's clock in ms, or '' for Redis's own.
local function clock()
  if ARGV[1] ~= '' then return tonumber(ARGV[1]) end
  local t = call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- A clock that went back refills nothing, and what was refilled is not refilled again.
local function refill(owed, at, rate, now)
  return math.max(0, owed - math.max(0, now - at) * rate), math.max(at, now)
end

local function text(number) return string.format('%.0f', number) end

-- What one counter becomes when a lease's part of it goes from `was` to `is`; nil: leave it alone.
--   held: the lease is open, so its part of a window stands under reserved; closes: from now on it stands under used.
local function adjust(field, value, ends, was, is, held, closes, now)
  if not value then return nil end                      -- lost: only a seed makes it again
  local kind = field:sub(1, 1)
  local v = decode(value)
  if kind == 'c' then
    if held and closes then return pack({math.max(0, v[1] - 1), v[2]}) end
    return nil
  end
  if kind == 'r' or kind == 't' then
    local owed, at = refill(v[1], v[2], v[3], now)
    return pack({math.max(0, owed + (is - was) * UNIT), at, v[3]})
  end
  if v[1] ~= ends then return nil end                   -- that window is over
  -- The difference first: two large amounts together may be above 2^53.
  if not held then return pack({v[1], v[2] + (is - was), v[3], v[4]}) end
  if closes then return pack({v[1], v[2] + is, v[3] - was, v[4]}) end
  return pack({v[1], v[2], v[3] + (is - was), v[4]})
end

-- The counters a lease took from, as HMGET gives them.
local function taken_from(took)
  local fields = {}
  for n = 1, #took, 3 do fields[#fields + 1] = took[n] end
  if #fields == 0 then return {} end
  return call('HMGET', HASH, unpack(fields))
end
