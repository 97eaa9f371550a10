-- Rows that money stands on are to be append-only for the app's role (0031 takes its rights away, after the upgrade).
-- What still changes a row of the ledger is this function: a real row replaces the estimate of a reaped call.

-- Replaces estimates with reason 'reaped' by the real rows given, and returns the estimates as they were; other rows are
-- not touched. A call keeps its time and whom it belongs to. Columns of later migrations are replaced too.
CREATE FUNCTION replace_reaped_usage(given jsonb) RETURNS SETOF usage_logs LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    ids uuid[] := ARRAY(SELECT r.request_id FROM jsonb_populate_recordset(NULL::usage_logs, given) AS r
        WHERE r.estimated_why IS DISTINCT FROM 'reaped');
    estimates usage_logs[];
    changing text[] := ARRAY(SELECT quote_ident(attname) FROM pg_attribute
        WHERE attrelid = 'usage_logs'::regclass AND attnum > 0 AND NOT attisdropped
        AND attname NOT IN ('request_id', 'started_at', 'account_id', 'user_id', 'api_key_id') ORDER BY attnum);
BEGIN
    estimates := ARRAY(SELECT u FROM usage_logs AS u WHERE u.request_id = ANY (ids) AND u.estimated_why = 'reaped'
        ORDER BY u.request_id FOR UPDATE);
    IF EXISTS (
        SELECT FROM unnest(estimates) AS e JOIN jsonb_populate_recordset(NULL::usage_logs, given) AS r USING (request_id)
        WHERE (r.started_at, r.account_id, r.user_id, r.api_key_id)
            IS DISTINCT FROM (e.started_at, e.account_id, e.user_id, e.api_key_id)
    ) THEN
        RAISE EXCEPTION 'a row cannot replace the estimate of another''s call'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'usage_logs_same_call';
    END IF;
    EXECUTE format('UPDATE usage_logs AS u SET (%s) = ROW (r.%s)
        FROM jsonb_populate_recordset(NULL::usage_logs, $1) AS r
        WHERE r.request_id = u.request_id AND u.request_id = ANY (ARRAY(SELECT e.request_id FROM unnest($2) AS e))',
        array_to_string(changing, ', '), array_to_string(changing, ', r.')) USING given, estimates;
    RETURN QUERY SELECT * FROM unnest(estimates);
END $$;
REVOKE EXECUTE ON FUNCTION replace_reaped_usage(jsonb) FROM PUBLIC;

-- A row's time is the one in its id. Rows of before are not looked at again.
ALTER TABLE usage_logs ADD CONSTRAINT usage_logs_time_of_id
    CHECK (left(request_id::text, 13) = left(uuid7_floor(started_at)::text, 13)) NOT VALID;

-- Not now(), when the transaction began: of two that wait for each other the last one counts.
ALTER TABLE model_prices ALTER COLUMN effective_at SET DEFAULT clock_timestamp();

DO $$
DECLARE
    app text := current_setting('litemaas.app_role');
    definer regprocedure;
BEGIN
    EXECUTE format('GRANT EXECUTE ON FUNCTION replace_reaped_usage(jsonb) TO %I', app);
    -- Temporary tables come last in what runs with the owner's rights: where pg_temp is not named it is searched first,
    -- and a caller could put a table of their own in the place of one of ours.
    FOR definer IN SELECT oid FROM pg_proc WHERE prosecdef AND pronamespace = current_schema()::regnamespace LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', definer, current_schema());
    END LOOP;
END $$;
