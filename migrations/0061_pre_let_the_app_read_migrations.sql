-- The programs and `litemaas doctor` say which migrations are missing.

DO $$
BEGIN
    EXECUTE format('GRANT SELECT ON schema_migrations TO %I', current_setting('litemaas.app_role'));
END $$;
