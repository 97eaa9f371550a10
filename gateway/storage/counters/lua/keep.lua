-- Keeps for a while what each call that ends counts: a seed adds it where the ledger was read without that call's row.
--
-- ARGV: 2 ms from now
-- Returns 1: it does, 0: nothing is known of the account.
if call('EXISTS', HASH) == 0 then return 0 end
local till = call('HGET', HASH, 'keep')
call('HSET', HASH, 'keep', text(max(till and tonumber(till) or 0, now + ARGV[2])))
return 1
