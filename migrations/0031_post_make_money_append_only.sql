-- The app's role adds rows of the ledger, prices, audit rows and the history of subscriptions, and changes none. Their ids
-- and times are the database's: it may not give them. tests/integration/test_append_only_tables.py lists all tables; a
-- column that a later migration adds to one of these needs GRANT INSERT.

DO $$
DECLARE
    app text := current_setting('litemaas.app_role');
    given record;
    columns text;
BEGIN
    EXECUTE format('REVOKE UPDATE, DELETE ON usage_logs, model_prices, subscription_history FROM %I', app);
    FOR given IN SELECT * FROM (VALUES
        ('audit_logs'::regclass, ARRAY['id', 'at']),
        ('model_prices'::regclass, ARRAY['id', 'effective_at', 'created_at']),
        ('subscription_history'::regclass, ARRAY['id', 'at'])) AS v (relation, by_database) LOOP
        SELECT string_agg(quote_ident(attname), ', ') INTO columns FROM pg_attribute
        WHERE attrelid = given.relation AND attnum > 0 AND NOT attisdropped AND attname <> ALL (given.by_database);
        EXECUTE format('REVOKE INSERT ON %s FROM %I', given.relation, app);
        EXECUTE format('GRANT INSERT (%s) ON %s TO %I', columns, given.relation, app);
    END LOOP;
END $$;
