-- A page of a list within a team or of a user that has tens of thousands: tests/integration/test_list_plans.py counts what
-- is read for it.
CREATE INDEX limits_level_account ON limits (level, account_id, id);
CREATE INDEX api_keys_account_shown ON api_keys (account_id, id) WHERE archived_at IS NULL;
CREATE INDEX api_keys_user_shown ON api_keys (user_id, id) WHERE archived_at IS NULL;
CREATE INDEX team_invitations_account ON team_invitations (account_id, id);
CREATE INDEX alerts_account_acknowledged ON alerts (account_id, id DESC) WHERE acknowledged_at IS NOT NULL;
CREATE INDEX alerts_account_unacknowledged ON alerts (account_id, id DESC) WHERE acknowledged_at IS NULL;
CREATE INDEX alerts_user_acknowledged ON alerts (user_id, id DESC) WHERE acknowledged_at IS NOT NULL;
CREATE INDEX alerts_user_unacknowledged ON alerts (user_id, id DESC) WHERE acknowledged_at IS NULL;
