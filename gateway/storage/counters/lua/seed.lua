-- Makes counters from the ledger's sums, what was kept of calls that the ledger was read without, and the leases that are
-- open, by SET, and only those that still need it: of several gateways that seed at once, the first one counts and the
-- others change nothing.
--
-- ARGV: 2 msgpack {{field, window's start, window's end, the ledger's sum, epoch}, …}
--       3 msgpack {{request id, requests, tokens, nano-USD}, …}: what the sums have of calls that may be kept
-- Returns how many were made.
local wanted = cmsgpack.unpack(ARGV[2])
local fields, need = {}, {}
for n, counter in ipairs(wanted) do fields[n] = counter[1] end
for n, value in ipairs(call('HMGET', HASH, unpack(fields))) do
  local field, starts, ends, used, epoch = unpack(wanted[n])
  if sub(field, 1, 1) == 'c' then
    local _, made
    if value then check_size(value, 16); _, made = read(OPEN, value) end
    if not value or made < epoch then need[#need + 1] = {field, 0, 0, 0, 0, epoch} end
  else
    local till, _, made
    if value then check_size(value, 32); till, _, _, made = read(WINDOW, value) end
    -- A counter of a later window belongs to gateways that have already gone on; one of a later epoch is right already.
    if not value or made < epoch and (till <= ends or ends > now) or made == epoch and till < ends and till > starts then
      need[#need + 1] = {field, starts, ends, used, 0, epoch}
    end
  end
end
if #need == 0 then return 0 end

local known, leases, all = {}, {}, call('HGETALL', HASH)
for _, row in ipairs(cmsgpack.unpack(ARGV[3])) do known[row[1]] = {R = row[2], T = row[3], C = row[4]} end
for n = 1, #all, 2 do
  if sub(all[n], 1, 2) == 'l|' then
    local lease, names, took, at = read_lease(all[n + 1])
    leases[all[n]] = {lease, names, took, sub(all[n + 1], at)}
  end
end
-- Calls of one key have the same scopes: which counters those are is looked up once.
local of_scopes = {}
local function counters_of(scopes)
  local found = of_scopes[scopes]
  if not found then
    found = {}
    for _, counter in ipairs(need) do
      local kind, scope = counter[1]:match('^(%a)|([^|]+)')
      if kind ~= 'c' and (' ' .. scopes .. ' '):find(' ' .. scope .. ' ', 1, true) then found[#found + 1] = {kind, counter} end
    end
    of_scopes[scopes] = found
  end
  return found
end
local function add(start, scopes, is, was)
  for _, of in ipairs(counters_of(scopes)) do
    local kind, counter = of[1], of[2]
    if counter[2] <= start and start < counter[3] then counter[4] = counter[4] + is[kind] - (was and was[kind] or 0) end
  end
end
local NONE = {R = 0, T = 0, C = 0}
for n = 1, #all, 2 do
  local field, value = all[n], all[n + 1]
  if sub(field, 1, 2) == 'd|' then
    local start, requests, tokens, cost = read('<dddd', value)
    add(start, sub(value, 33), {R = requests, T = tokens, C = cost}, known[sub(field, 3)])
  end
end
-- An estimate in the sums of a call that goes on, or is closed by it in a moment: it is counted when the lease ends.
for name, parts in pairs(leases) do
  local was = known[sub(name, 3)]
  if was and parts[1][STATE] == 1 then add(parts[1][START], parts[4]:match('^%Z*'), NONE, was) end
end
local changed = {}
for _, counter in ipairs(need) do
  local field, starts, ends = counter[1], counter[2], counter[3]
  local kind, scope = field:match('^(%a)|([^|]+)')
  for name, parts in pairs(leases) do
    local lease, names, took, rest = unpack(parts)
    local is_open = lease[STATE] == 1
    -- What was reaped is in the ledger's sum by its estimate: real figures that come later must find that part.
    local covers = kind == 'c' and is_open or kind ~= 'c' and starts <= lease[START] and lease[START] < ends
    local scopes = rest:match('^%Z*')
    if covers and (' ' .. scopes .. ' '):find(' ' .. scope .. ' ', 1, true) then
      local at = nil
      for n = 1, #names do if names[n] == field and took[2 * n - 1] == ends then at = n end end
      if not at then                                    -- a limit newer than the lease: it counts it from now on
        local want = kind == 'T' and lease[PROMPT] + lease[COMPLETION] or kind == 'C' and lease[COST] or 1
        at = #names + 1
        names[at], took[2 * at - 1], took[2 * at] = field, ends, want
        changed[name] = parts
      end
      if is_open then counter[5] = counter[5] + took[2 * at] end
    end
  end
end
for name, parts in pairs(changed) do call('HSET', HASH, name, write_lease(unpack(parts))) end
for _, counter in ipairs(need) do
  local field, _, ends, used, open, epoch = unpack(counter)
  local is_slots = sub(field, 1, 1) == 'c'
  call('HSET', HASH, field, is_slots and write(OPEN, open, epoch) or write(WINDOW, ends, used, open, epoch))
end
call('PEXPIRE', HASH, KEEP_MS)
return #need
