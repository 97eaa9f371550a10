-- Refused calls of a user, and of an account, newest first; those of all are found by time.
CREATE INDEX refused_calls_user ON refused_calls (user_id, at DESC, request_id DESC);
CREATE INDEX refused_calls_account ON refused_calls (account_id, at DESC, request_id DESC);
