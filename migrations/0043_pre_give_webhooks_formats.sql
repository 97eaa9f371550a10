-- Chat services take messages in forms of their own, and say in words why they refuse one: admins see what was answered.

ALTER TABLE webhooks ADD COLUMN format text NOT NULL DEFAULT 'standard'
    CHECK (format IN ('standard', 'slack', 'teams'));
ALTER TABLE deliveries
    ADD COLUMN last_status integer,                                  -- of HTTP or SMTP, at the last try that got an answer
    ADD COLUMN last_answer text CHECK (length(last_answer) <= 200);  -- the beginning of its text
