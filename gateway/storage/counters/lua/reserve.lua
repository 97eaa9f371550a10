-- Takes the estimate of one call from every limit at once, or from none.
--
-- ARGV: 2 request id, 3 'take' | 'force' (never refuse: a lease that was lost is taken again) | 'look' (write nothing),
--       4 doubles: ms the lease is valid, start of the call, tokens of the prompt, of the expected completion, at most,
--         the same three in nano-USD, how many counters there are,
--       5 scopes of the call between spaces, 6 note for the reaper, 7 the counters' fields, each ended by \0,
--       8 seven doubles a limit: which counter, amount, capacity or window's start, window's end, shadow 0|1,
--         maximum 0|1, epoch
-- Returns, as integers of 8 bytes in one text, status, now, sweep due 0|1, then for each limit left, held, wanted
--       (left and held before this call; a bucket's left in 1/60000 units, below 0 when in debt)
--   status  1 taken · 0 refused, nothing written · 2 this id has taken before
--          -1 seed these: their numbers follow · -2 the call's window is over: ask again with a new id
--          -3 the call's start is more than 5 s from Redis's clock
local mode, lease_field, limits = ARGV[3], 'l|' .. ARGV[2], ARGV[8]
local lease_ms, start, prompt_tokens, completion_tokens, most_tokens, prompt_cost, completion_cost, most_cost, counters =
  read('<ddddddddd', ARGV[4])
local expires, names = now + lease_ms, {read(rep('s', counters), ARGV[7])}

local function answer(numbers) return write('<' .. rep('i8', #numbers), unpack(numbers)) end

local have = call('HMGET', HASH, lease_field, 'due', unpack(names, 1, counters))
local due = have[2] and tonumber(have[2])
local sweep = due and due <= now and 1 or 0
if have[1] and mode ~= 'look' then return answer({2, now, sweep}) end
if mode == 'take' and math.abs(start - now) > 5000 then return answer({-3, now, sweep}) end

-- Only the prompt can make a call that never fits: the expected completion is cut to the room there is. But not all
-- to nothing, or a spent window would not refuse a call whose prompt is free.
local function cut(prompt, completion, room)
  return max(min(1, prompt + completion), prompt + min(completion, max(0, room - prompt)))
end

local writes, forced, refused, late, seed = mode ~= 'look', mode == 'force', false, false, nil
local reply, put, took, parts, from, n = {1, now, sweep}, {}, {}, 0, 1, 0
while from <= #limits do
  local counter, amount, a, b, shadow, maximum, epoch
  counter, amount, a, b, shadow, maximum, epoch, from = read('<ddddddd', limits, from)
  local name, value = names[counter], have[counter + 2]
  local kind = sub(name, 1, 1)
  local prompt, completion, most = 1, 0, 1
  if kind == 't' or kind == 'T' then prompt, completion, most = prompt_tokens, completion_tokens, most_tokens
  elseif kind == 'C' then prompt, completion, most = prompt_cost, completion_cost, most_cost end
  local want = maximum == 1 and most or prompt + completion
  local left, held, ends, new = 0, 0, 0, nil
  n = n + 1

  if kind == 'r' or kind == 't' then
    local owed, at = 0, now
    if value then
      check_size(value, 24)
      owed, at = read(BUCKET, value)
      owed, at = refill(owed, at, amount, now)
    end
    -- Redis makes 64 bit integers of what leaves; a larger debt is reported as this.
    left = max(a * UNIT - owed, -LARGEST)
    if want > a and maximum == 0 then want = cut(prompt, completion, a) end
    if want * UNIT > left and want > 0 and shadow == 0 then refused = true end
    if writes and (forced or not refused) then new = write(BUCKET, owed + want * UNIT, at, amount) end
  elseif kind == 'c' then
    local count, made
    if value then
      check_size(value, 16)
      count, made = read(OPEN, value)
    end
    if not value or made < epoch then
      seed = seed or {-1, now, sweep}
      seed[#seed + 1] = n
    else
      left, held = amount - count, count
      if left < 1 and shadow == 0 then refused = true end
      if writes and (forced or not refused) then new = write(OPEN, count + 1, made) end
    end
  else
    local till, used, reserved, made
    if value then
      check_size(value, 32)
      till, used, reserved, made = read(WINDOW, value)
    end
    local is_ahead = value and till > b
    if value and made > epoch and not (is_ahead and b <= now) then
      -- This gateway's record is older than the counter. The time zone may have changed since: the counter is right.
      if till > start then b = till else a = till end
      is_ahead = false
    end
    if is_ahead and (made == epoch or b <= now) then     -- others have gone on to the next window
      if not forced then late = true end                 -- a window that is over: nothing to take again
    elseif not value or made < epoch or till ~= b and till > a then
      seed = seed or {-1, now, sweep}
      seed[#seed + 1] = n
    else
      -- The earlier window was counted to its end: this one starts at 0.
      if till ~= b then used, reserved, made = 0, 0, epoch end
      left, held, ends = amount - used - reserved, reserved, b
      if want > left and maximum == 0 then want = cut(prompt, completion, left) end
      if want > left and want > 0 and shadow == 0 then refused = true end
      if writes and (forced or not refused) then new = write(WINDOW, b, used, reserved + want, made) end
    end
  end
  reply[3 * n + 1], reply[3 * n + 2], reply[3 * n + 3] = left, held, want
  if new then
    -- Limits of one window share its counter (an owner's, an admin's, a shadow): it gives the largest part, once.
    local last = 2 * counter
    local before = took[last]
    if not before then parts = parts + 1 end
    if not before or want > before then
      put[last - 1], put[last], took[last - 1], took[last] = name, new, ends, want
    end
  end
end

if late then return answer({-2, now, sweep}) end
if seed then return answer(seed) end
if refused and not forced then reply[1] = 0 end
if reply[1] == 0 or not writes then return answer(reply) end
local fields = ARGV[7]
if parts < counters then                                 -- without those of windows that are over
  local kept, kept_put, kept_took = {}, {}, {}
  for c = 1, counters do
    if took[2 * c] then
      kept[#kept + 1] = names[c] .. '\0'
      kept_put[#kept_put + 1], kept_put[#kept_put + 2] = put[2 * c - 1], put[2 * c]
      kept_took[#kept_took + 1], kept_took[#kept_took + 2] = took[2 * c - 1], took[2 * c]
    end
  end
  fields, put, took = table.concat(kept), kept_put, kept_took
end
local numbers = write(LEASE .. rep('d', 2 * parts), expires, 0, 1, start, prompt_tokens, completion_tokens,
  prompt_cost + completion_cost, parts, unpack(took, 1, 2 * parts))
put[2 * parts + 1], put[2 * parts + 2] = lease_field, numbers .. fields .. ARGV[5] .. '\0' .. ARGV[6]
if not due or expires < due then
  put[2 * parts + 3], put[2 * parts + 4] = 'due', text(expires)
end
call('HSET', HASH, unpack(put, 1, #put))
-- `due` is at most a lease's time ahead when it is written, and then the expiry is renewed: that is often enough.
if not due or due <= now then call('PEXPIRE', HASH, KEEP_MS) end
return answer(reply)
