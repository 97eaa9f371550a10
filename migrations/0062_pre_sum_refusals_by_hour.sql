-- Refusals of all accounts by hour, code and model, for pages and reports about everybody: of each hour there are as many
-- rows in `refusals` as keys were refused. Triggers keep them, so gateways of the version before are counted too.

SET LOCAL statement_timeout = '1h';

CREATE TABLE refusal_hours (
    hour      timestamptz NOT NULL,
    code      text NOT NULL,
    model_id  bigint NOT NULL,                                       -- 0: no model of the key
    count     bigint NOT NULL,
    PRIMARY KEY (hour, code, model_id)
) WITH (fillfactor = 60);

-- Writers wait from here on; what they counted meanwhile stays in their memory.
LOCK TABLE refusals IN SHARE ROW EXCLUSIVE MODE;
INSERT INTO refusal_hours (hour, code, model_id, count)
SELECT hour, code, model_id, usage_sum(count) FROM refusals GROUP BY hour, code, model_id ORDER BY hour, code, model_id;

-- One statement may insert some rows and update others, and has a trigger for either: two of them could wait for each other,
-- so they come one after another. They wait for no other lock then.
CREATE FUNCTION add_to_refusal_hours() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    added text := 'SELECT hour, code, model_id, count FROM added';
    removed text := 'SELECT hour, code, model_id, -count FROM removed';
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('litemaas.refusal_hours'));
    EXECUTE format('INSERT INTO refusal_hours AS h (hour, code, model_id, count)
        SELECT hour, code, model_id, usage_sum(count) FROM (%s) AS r (hour, code, model_id, count)
        GROUP BY hour, code, model_id HAVING usage_sum(count) <> 0 ORDER BY hour, code, model_id
        ON CONFLICT (hour, code, model_id) DO UPDATE SET count = h.count + excluded.count',
        CASE TG_OP WHEN 'INSERT' THEN added WHEN 'DELETE' THEN removed ELSE added || ' UNION ALL ' || removed END);
    RETURN NULL;
END $$;
CREATE TRIGGER refusals_inserted AFTER INSERT ON refusals REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION add_to_refusal_hours();
CREATE TRIGGER refusals_updated AFTER UPDATE ON refusals REFERENCING OLD TABLE AS removed NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION add_to_refusal_hours();
CREATE TRIGGER refusals_deleted AFTER DELETE ON refusals REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION add_to_refusal_hours();

DO $$
BEGIN
    -- As 0030 says: temporary tables come last.
    EXECUTE format('ALTER FUNCTION add_to_refusal_hours() SET search_path = %I, pg_temp', current_schema());
    EXECUTE format('GRANT SELECT ON refusal_hours TO %I', current_setting('litemaas.app_role'));
END $$;
