-- The limits of one level in one account, in the order of the pages: also where the rows lie by account, which made a whole
-- team's limits look as cheap.
CREATE INDEX limits_account_level ON limits (account_id, level, id);
