-- Months of the ledger are made without holding up who reads or writes it, dropped by retention, and never made again
-- once they were dropped: what came late for such a month could not be told from what it had.

CREATE TABLE usage_months_dropped (
    month       date NOT NULL PRIMARY KEY,                           -- its first day, in UTC
    dropped_at  timestamptz NOT NULL DEFAULT now()
);

CREATE FUNCTION usage_month(moment timestamptz) RETURNS timestamptz LANGUAGE sql STABLE STRICT AS $$
    SELECT date_trunc('month', moment AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'
$$;

-- Made beside the ledger and then attached: CREATE TABLE … PARTITION OF would wait for every reader of the ledger, and
-- every writer behind it for that.
CREATE FUNCTION make_usage_partition(month timestamptz) RETURNS boolean
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    partition text := 'usage_logs_' || to_char(month AT TIME ZONE 'UTC', 'YYYYMM');
BEGIN
    IF to_regclass(partition) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE usage_logs INCLUDING ALL)', partition);
    EXECUTE format('ALTER TABLE usage_logs ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', partition,
        uuid7_floor(month), uuid7_floor((month AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC'));
    RETURN true;
END $$;

CREATE OR REPLACE FUNCTION ensure_usage_partitions(ahead integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    start timestamptz; made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('litemaas.usage_partitions'));
    FOR n IN -1..least(greatest(ahead, 0), 24) LOOP
        start := (usage_month(now()) AT TIME ZONE 'UTC' + make_interval(months => n)) AT TIME ZONE 'UTC';
        IF NOT EXISTS (SELECT FROM usage_months_dropped d WHERE d.month = (start AT TIME ZONE 'UTC')::date)
        THEN
            made := made + make_usage_partition(start)::integer;
        END IF;
    END LOOP;
    RETURN made;
END $$;

-- The month of a row that came late or early: 'ready', 'dropped', or 'impossible' for a time that is nonsense.
CREATE FUNCTION ensure_usage_partition(moment timestamptz) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    IF moment < '2020-01-01T00:00:00Z' OR moment > now() + interval '2 years' THEN
        RETURN 'impossible';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('litemaas.usage_partitions'));
    IF EXISTS (SELECT FROM usage_months_dropped d WHERE d.month = (usage_month(moment) AT TIME ZONE 'UTC')::date) THEN
        RETURN 'dropped';
    END IF;
    PERFORM make_usage_partition(usage_month(moment));
    RETURN 'ready';
END $$;

-- Takes the oldest month that ended by `before` out of the ledger; NULL: there is none. It waits for readers and
-- writers of the ledger a second at most, for others wait behind it: try again later then.
CREATE FUNCTION detach_usage_partition(before timestamptz) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET lock_timeout = '1s' AS $$
DECLARE
    oldest record;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('litemaas.usage_partitions'));
    SELECT c.relname, to_date(right(c.relname, 6), 'YYYYMM') AS month INTO oldest
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'usage_logs'::regclass ORDER BY c.relname LIMIT 1;
    IF NOT FOUND OR (oldest.month + interval '1 month') AT TIME ZONE 'UTC' > before THEN
        RETURN NULL;
    END IF;
    EXECUTE format('ALTER TABLE usage_logs DETACH PARTITION %I', oldest.relname);
    INSERT INTO usage_months_dropped (month) VALUES (oldest.month) ON CONFLICT DO NOTHING;
    RETURN oldest.relname;
END $$;

-- Drops what was detached, in a transaction of its own: it may take long, and nobody waits for it.
CREATE FUNCTION drop_detached_usage_partitions() RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET lock_timeout = '1s' AS $$
DECLARE
    detached text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('litemaas.usage_partitions'));
    FOR detached IN SELECT c.relname FROM pg_class c WHERE c.relname ~ '^usage_logs_[0-9]{6}$' AND c.relkind = 'r'
        AND c.relnamespace = current_schema()::regnamespace
        AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid)
        AND to_date(right(c.relname, 6), 'YYYYMM') IN (SELECT month FROM usage_months_dropped) LOOP
        EXECUTE format('DROP TABLE %I', detached);
        RETURN NEXT detached;
    END LOOP;
END $$;

DROP FUNCTION drop_usage_partitions(timestamptz);

REVOKE EXECUTE ON FUNCTION make_usage_partition(timestamptz), ensure_usage_partition(timestamptz),
    detach_usage_partition(timestamptz), drop_detached_usage_partitions() FROM PUBLIC;

DO $$
DECLARE
    app text := current_setting('litemaas.app_role');
BEGIN
    EXECUTE format('GRANT SELECT ON usage_months_dropped TO %I', app);
    EXECUTE format('GRANT EXECUTE ON FUNCTION ensure_usage_partition(timestamptz), '
        'detach_usage_partition(timestamptz), drop_detached_usage_partitions() TO %I', app);
END $$;

-- Adds up one day anew, in UTC: quarters from the ledger's rows, everything else from the quarters, its month from the
-- days. Writers wait meanwhile, their rows in journals; calls do not. Locks are taken in the order of the writers.
CREATE FUNCTION rebuild_usage_day(the_day date) RETURNS void LANGUAGE plpgsql SET lock_timeout = '10s' AS $$
DECLARE
    first timestamptz := the_day::timestamp AT TIME ZONE 'UTC';
    last timestamptz := (the_day + 1)::timestamp AT TIME ZONE 'UTC';
    its_month date := date_trunc('month', the_day)::date;
    of_day text := format('day = %L', the_day);
    of_quarters text := format('started_at >= $1 AND started_at < %L', last);
BEGIN
    LOCK TABLE usage_model_quarter_hours, usage_model_days, usage_quarter_hours, usage_days, usage_account_days,
        usage_account_months IN SHARE ROW EXCLUSIVE MODE;
    DELETE FROM usage_quarter_hours WHERE started_at >= first AND started_at < last;
    DELETE FROM usage_days WHERE day = the_day;
    DELETE FROM usage_model_quarter_hours WHERE started_at >= first AND started_at < last;
    DELETE FROM usage_model_days WHERE day = the_day;
    DELETE FROM usage_account_days WHERE day = the_day;
    DELETE FROM usage_account_months WHERE month = its_month;
    PERFORM add_up_usage('usage_quarter_hours',
        'account_id, started_at, user_id, api_key_id, model_id, ending, error_class', 'usage_as_sums',
        format('request_id >= uuid7_floor($1) AND request_id < uuid7_floor(%L)', last), first, true);
    PERFORM add_up_usage('usage_days', 'account_id, day, user_id, api_key_id, model_id, ending, error_class',
        '(SELECT *, (started_at AT TIME ZONE ''UTC'')::date AS day FROM usage_quarter_hours)', of_quarters, first, true);
    PERFORM add_up_usage('usage_model_quarter_hours', 'started_at, model_id, ending, error_class',
        'usage_quarter_hours', of_quarters, first, true);
    PERFORM add_up_usage('usage_model_days', 'day, model_id, ending, error_class',
        '(SELECT *, (started_at AT TIME ZONE ''UTC'')::date AS day FROM usage_model_quarter_hours)', of_quarters, first,
        true);
    PERFORM add_up_usage('usage_account_days', 'day, model, account_id, user_id',
        '(SELECT d.*, m.model FROM usage_days AS d CROSS JOIN LATERAL (VALUES (d.model_id), (0)) AS m (model))', of_day,
        first, false);
    PERFORM add_up_usage('usage_account_months', 'month, model, account_id, user_id',
        '(SELECT *, date_trunc(''month'', day)::date AS month FROM usage_account_days)',
        format('day >= %L AND day < %L', its_month, (its_month + interval '1 month')::date), first, false);
END $$;
