-- A page of refusals by each filter: tests/integration/test_list_plans.py counts what is read for it. Of an account they are
-- read by the primary key, from its end. Within an hour all have the order of the primary key, or a page of a model would
-- read all its refusals of that hour.
DROP INDEX refusals_hour;
CREATE INDEX refusals_hour ON refusals (hour, account_id, user_id, api_key_id, model_id, limit_id, code);
CREATE INDEX refusals_model ON refusals (model_id, hour, account_id, user_id, api_key_id, limit_id, code);
CREATE INDEX refusals_code ON refusals (code, hour, account_id, user_id, api_key_id, model_id, limit_id);
-- Few in an hour.
CREATE INDEX refusals_user ON refusals (user_id, hour);
CREATE INDEX refusals_key ON refusals (api_key_id, hour);
