-- Every list and every filter of one reads about a page, wherever its rows lie: tests/integration/test_list_plans.py
-- counts them.

-- What is rare among much else.
CREATE INDEX users_role ON users (role, id);
CREATE INDEX users_status ON users (status, id);
CREATE INDEX accounts_teams ON accounts (id) WHERE kind = 'team';
CREATE INDEX api_keys_shown ON api_keys (id) WHERE archived_at IS NULL;
CREATE INDEX alerts_acknowledged ON alerts (id) WHERE acknowledged_at IS NOT NULL;
CREATE INDEX alerts_unacknowledged ON alerts (id) WHERE acknowledged_at IS NULL;

-- An account's limits in the order of the pages, and those of one target.
CREATE INDEX limits_account ON limits (account_id, id);
CREATE INDEX limits_subscription ON limits (subscription_id) WHERE subscription_id IS NOT NULL;
CREATE INDEX limits_user ON limits (user_id) WHERE user_id IS NOT NULL;

-- The audit log is read by time, so that a range of long ago begins where it begins. Ids come nearly in that order, but
-- not in it: a long transaction has its ids late.
DROP INDEX audit_logs_at, audit_logs_actor, audit_logs_action, audit_logs_target;
CREATE INDEX audit_logs_at ON audit_logs (at, id);
CREATE INDEX audit_logs_actor ON audit_logs (actor, at, id);
CREATE INDEX audit_logs_action ON audit_logs (action, at, id);
CREATE INDEX audit_logs_target ON audit_logs (target_kind, target_id, at, id);
