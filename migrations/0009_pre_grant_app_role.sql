-- What the app's role may do. Its name comes from the runner (the user of LITEMAAS_DATABASE_URL). Migrations after
-- this one grant for the tables they add.

REVOKE EXECUTE ON FUNCTION ensure_usage_partitions(integer), drop_usage_partitions(timestamptz) FROM PUBLIC;

DO $$
DECLARE
    app text := current_setting('litemaas.app_role');
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), app);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON users, accounts, team_members, redis_runs, models, '
        'model_prices, subscriptions, subscription_history, api_keys, api_key_models, limits, usage_logs, '
        'usage_quarter_hours, usage_days, refusals TO %I', app);
    EXECUTE format('GRANT SELECT, INSERT ON audit_logs TO %I', app);
    EXECUTE format('GRANT EXECUTE ON FUNCTION ensure_usage_partitions(integer), drop_usage_partitions(timestamptz) TO %I', app);
END $$;
