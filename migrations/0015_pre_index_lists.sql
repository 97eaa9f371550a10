-- Lists by one filter at a time, each read in the order of its pages (make admin-bench).

CREATE INDEX subscriptions_status ON subscriptions (status, id);
DROP INDEX subscriptions_model;
CREATE INDEX subscriptions_model ON subscriptions (model_id, id);
-- What the clock looks for.
CREATE INDEX subscriptions_due ON subscriptions (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX limits_level ON limits (level, id);
