-- Lists by one filter at a time, each read in the order of its pages (make admin-bench).

CREATE INDEX subscriptions_status ON subscriptions (status, id);
DROP INDEX subscriptions_model;
CREATE INDEX subscriptions_model ON subscriptions (model_id, id);
-- What the clock looks for.
CREATE INDEX subscriptions_due ON subscriptions (expires_at) WHERE expires_at IS NOT NULL;
-- One for each level: of an index on (level, id) the planner believes that the primary key is as good.
CREATE INDEX limits_of_keys ON limits (id) WHERE level = 'key';
CREATE INDEX limits_of_key_models ON limits (id) WHERE level = 'key_model';
CREATE INDEX limits_of_subscriptions ON limits (id) WHERE level = 'subscription';
CREATE INDEX limits_of_users ON limits (id) WHERE level = 'user';
CREATE INDEX limits_of_teams ON limits (id) WHERE level = 'team';
