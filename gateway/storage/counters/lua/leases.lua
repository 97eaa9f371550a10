
-- Put between that and the scripts that deal with leases: how one is read and written, and what its end does to counters.

local EXPIRES, CLAIMED, STATE, START, PROMPT, COMPLETION, COST = 1, 2, 3, 4, 5, 6, 7

-- Its numbers; the fields it took from; {window's end or 0, taken} of each, flat; its scopes, \0 and its note.
local function read_lease(value)
  local lease = {struct.unpack('<dddddddd', value)}
  local n = lease[8]
  if not (n >= 0 and n % 1 == 0 and 64 + 17 * n < #value) then error('not a lease of ours') end
  local took, names = {struct.unpack('<' .. string.rep('d', 2 * n), value, 65)}, {struct.unpack(string.rep('s', n), value, 65 + 16 * n)}
  local at = names[n + 1]
  lease[9], took[2 * n + 1], names[n + 1] = nil, nil, nil
  return lease, names, took, at
end

local function write_lease(lease, names, took, rest)
  lease[8] = #names
  local fields = #names > 0 and table.concat(names, '\0') .. '\0' or ''
  return struct.pack('<dddddddd', unpack(lease, 1, 8)) .. struct.pack('<' .. string.rep('d', #took), unpack(took)) .. fields .. rest
end

-- Until when calls are kept, and then the counters a lease took from, as HMGET gives them.
local function taken_from(names)
  return redis.call('HMGET', KEYS[1], 'keep', unpack(names))
end

-- The field and the value that keep what a call counts in the end: its row may not be in the ledger that a seed reads.
local function keep(till, lease, rest, id, requests, tokens, cost, put, now)
  if (tonumber(till or 0) or 0) > now then
    put[#put + 1], put[#put + 2] = 'd|' .. id, struct.pack('<dddd', lease[START], requests, tokens, cost) .. rest:match('^%Z*')
  end
end

-- What one counter becomes when a lease's part of it goes from `was` to `is`; nil: leave it alone.
--   held: the lease is open, so its part of a window stands under reserved; closes: from now on it stands under used.
local function adjust(field, value, ends, was, is, held, closes, now)
  if not value then return nil end                      -- lost: only a seed makes it again
  local kind = sub(field, 1, 1)
  if kind == 'r' or kind == 't' then
    if is == was then return nil end
    if #value ~= 24 then error('not a counter of ours') end
    local owed, at, rate = read('<ddd', value)
    owed, at = refill(owed, at, rate, now)
    return write('<ddd', max(0, owed + (is - was) * 60000), at, rate)
  end
  if kind == 'c' then
    if not (held and closes) then return nil end
    check_size(value, 16)
    local count, epoch = read('<dd', value)
    return write('<dd', max(0, count - 1), epoch)
  end
  check_size(value, 32)
  local till, used, reserved, epoch = read('<dddd', value)
  if till ~= ends then return nil end                   -- that window is over
  -- The difference first: two large amounts together may be above 2^53.
  if not held then used = used + (is - was)
  elseif closes then used, reserved = used + is, reserved - was
  else reserved = reserved + (is - was) end
  return write('<dddd', till, used, reserved, epoch)
end
