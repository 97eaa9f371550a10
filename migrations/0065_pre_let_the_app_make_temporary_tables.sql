-- `litemaas ledger reconcile` reads LiteLLM's log into temporary tables. Postgres lets everybody make them, until PUBLIC's
-- rights on the database are revoked, as deploy/postgres/create_roles.sh does.

DO $$
DECLARE
    app text := current_setting('litemaas.app_role');
BEGIN
    IF NOT has_database_privilege(app, current_database(), 'TEMPORARY') THEN
        EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO %I', current_database(), app);
    END IF;
EXCEPTION WHEN insufficient_privilege THEN
    -- Who migrates does not own the database. `litemaas doctor` says what its owner must do.
    RAISE WARNING '% may make no temporary tables in %', app, current_database();
END $$;
