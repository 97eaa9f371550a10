-- Takes the estimate of one call from every limit at once, or from none.
--
-- ARGV: 2 request id, 3 ms the lease is valid, 4 start of the call,
--       5 'take' | 'force' (never refuse: a lease that was lost is taken again) | 'look' (write nothing),
--       6-8 tokens: of the prompt, of the expected completion, at most; 9-11 the same in nano-USD,
--       12 scopes of the call between spaces, 13 note for the reaper,
--       14 msgpack {{field, amount, capacity or window's start, window's end, shadow 0|1, maximum 0|1, epoch}, …}
-- Returns integers: status, now, sweep due 0|1, then for each limit left, held, wanted
--       (left and held before this call; a bucket's left in 1/60000 units, below 0 when in debt)
--   status  1 taken · 0 refused, nothing written · 2 this id has taken before
--          -1 seed these: their numbers follow · -2 the call's window is over: ask again with a new id
--          -3 the call's start is more than 5 s from Redis's clock
local now = clock()
local lease_field, expires, start, mode = 'l|' .. ARGV[2], now + ARGV[3], tonumber(ARGV[4]), ARGV[5]
local tokens = {tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])}
local cost = {tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])}
local limits = decode(ARGV[14])

local fields = {lease_field, 'due'}
for n, limit in ipairs(limits) do fields[n + 2] = limit[1] end
local have = call('HMGET', HASH, unpack(fields))
local due = tonumber(have[2] or expires)
local sweep = due <= now and 1 or 0
if have[1] and mode ~= 'look' then return {2, now, sweep} end
if math.abs(start - now) > 5000 and mode == 'take' then return {-3, now, sweep} end

-- Only the prompt can make a call that never fits: the expected completion is cut to the room there is. But not all
-- to nothing, or a spent window would not refuse a call whose prompt is free.
local function cut(size, room)
  return math.max(math.min(1, size[1] + size[2]), size[1] + math.min(size[2], math.max(0, room - size[1])))
end

local refused, late, seed = false, false, {-1, now, sweep}
local reply, put, took, at = {1, now, sweep}, {}, {}, {}
for n, limit in ipairs(limits) do
  local field, amount, a, b, shadow, maximum, epoch = unpack(limit)
  local kind, value = field:sub(1, 1), have[n + 2]
  local v = value and decode(value)
  local left, held, ends, want, new = 0, 0, 0, 1, nil
  local size = (kind == 't' or kind == 'T') and tokens or kind == 'C' and cost or nil
  if size then want = maximum == 1 and size[3] or size[1] + size[2] end

  if kind == 'r' or kind == 't' then
    local owed, filled = 0, now
    if v then owed, filled = refill(v[1], v[2], amount, now) end
    -- Redis makes 64 bit integers of what leaves; a debt beyond these is told as this.
    left = math.max(a * UNIT - owed, -LARGEST)
    if size and maximum == 0 then want = cut(size, a) end
    new = {owed + want * UNIT, filled, amount}
    if want * UNIT > left and want > 0 and shadow == 0 then refused = true end
  elseif kind == 'c' then
    if not v or v[2] < epoch then seed[#seed + 1] = n
    else
      left, held, new = amount - v[1], v[1], {v[1] + 1, v[2]}
      if left < 1 and shadow == 0 then refused = true end
    end
  else
    local is_ahead = v and v[1] > b
    if v and v[4] > epoch and not (is_ahead and b <= now) then
      -- This gateway's record is older than the counter. The time zone may have changed since: the counter is right.
      if v[1] > start then b = v[1] else a = v[1] end
      is_ahead = false
    end
    if is_ahead and (v[4] == epoch or b <= now) then     -- others have gone on to the next window
      if mode ~= 'force' then late = true end            -- a window that is over: nothing to take again
    elseif not v or v[4] < epoch or v[1] ~= b and v[1] > a then seed[#seed + 1] = n
    else
      local used, reserved, made = v[2], v[3], v[4]
      -- The earlier window was counted to its end: this one starts at 0.
      if v[1] ~= b then used, reserved, made = 0, 0, epoch end
      left, held, ends = amount - used - reserved, reserved, b
      if size and maximum == 0 then want = cut(size, left) end
      if want > left and want > 0 and shadow == 0 then refused = true end
      new = {b, used, reserved + want, made}
    end
  end
  reply[#reply + 1], reply[#reply + 2], reply[#reply + 3] = left, held, want
  -- Limits of one window share its counter (an owner's, an admin's, a shadow): it gives the largest part, once.
  local before = at[field]
  if new and not before then
    at[field] = #took + 1
    put[#put + 1], put[#put + 2] = field, pack(new)
    took[#took + 1], took[#took + 2], took[#took + 3] = field, ends, want
  elseif new and want > took[before + 2] then
    took[before + 2], put[(before - 1) / 3 * 2 + 2] = want, pack(new)
  end
end

if late then return {-2, now, sweep} end
if #seed > 3 then return seed end
if refused and mode ~= 'force' then reply[1] = 0 end
if reply[1] == 0 or mode == 'look' then return reply end
put[#put + 1] = lease_field
put[#put + 1] = pack({expires, 1, start, tokens[1], tokens[2], cost[1] + cost[2], took, ARGV[12], ARGV[13], 0})
put[#put + 1], put[#put + 2] = 'due', text(math.min(due, expires))
call('HSET', HASH, unpack(put))
call('PEXPIRE', HASH, KEEP_MS)
return reply
