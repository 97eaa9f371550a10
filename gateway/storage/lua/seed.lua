-- Makes counters anew from the ledger's sums and the leases that are open, by SET, and only those that still need it:
-- of several gateways that seed at once, the first one counts and the others change nothing.
--
-- ARGV: 2 msgpack {{field, window's start, window's end, the ledger's sum, epoch}, …}
-- Returns how many were made.
local now, wanted = clock(), decode(ARGV[2])
local fields, need = {}, {}
for n, counter in ipairs(wanted) do fields[n] = counter[1] end
for n, value in ipairs(call('HMGET', HASH, unpack(fields))) do
  local v, field, starts, ends, used, epoch = value and decode(value), unpack(wanted[n])
  if field:sub(1, 1) == 'c' then
    if not v or v[2] < epoch then need[#need + 1] = {field, 0, 0, 0, 0, epoch} end
  -- A counter of a later window belongs to gateways that have already gone on; one of a later epoch is right already.
  elseif not v or v[4] < epoch and (v[1] <= ends or ends > now) or v[4] == epoch and v[1] < ends and v[1] > starts then
    need[#need + 1] = {field, starts, ends, used, 0, epoch}
  end
end
if #need == 0 then return 0 end

local leases, all = {}, call('HGETALL', HASH)
for n = 1, #all, 2 do
  if all[n]:sub(1, 2) == 'l|' then
    leases[all[n]] = decode(all[n + 1])
  end
end
local changed = {}
for _, counter in ipairs(need) do
  local field, starts, ends = counter[1], counter[2], counter[3]
  local kind, scope = field:match('^(%a)|([^|]+)')
  for name, lease in pairs(leases) do
    local is_open = lease[STATE] == 1
    -- What was reaped is in the ledger's sum by its estimate: real figures that come later must find that part.
    local covers = kind == 'c' and is_open or kind ~= 'c' and starts <= lease[START] and lease[START] < ends
    if covers and (' ' .. lease[SCOPES] .. ' '):find(' ' .. scope .. ' ', 1, true) then
      local took, at = lease[TOOK], nil
      for n = 1, #took, 3 do if took[n] == field and took[n + 1] == ends then at = n end end
      if not at then                                    -- a limit newer than the lease: it counts it from now on
        local want = kind == 'T' and lease[PROMPT] + lease[COMPLETION] or kind == 'C' and lease[COST] or 1
        at = #took + 1
        took[at], took[at + 1], took[at + 2] = field, ends, want
        changed[name] = lease
      end
      if is_open then counter[5] = counter[5] + took[at + 2] end
    end
  end
end
for name, lease in pairs(changed) do call('HSET', HASH, name, pack(lease)) end
for _, counter in ipairs(need) do
  local field, _, ends, used, open, epoch = unpack(counter)
  call('HSET', HASH, field, field:sub(1, 1) == 'c' and pack({open, epoch}) or pack({ends, used, open, epoch}))
end
call('PEXPIRE', HASH, KEEP_MS)
return #need
