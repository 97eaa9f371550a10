-- A day of the ledger is closed eight days after its end, and sealed: a hash over all its rows, chained to the seal of the
-- day before. What comes later is a correction, which belongs to the day it was made. `litemaas ledger verify --sealed`
-- computes seals again (gateway/storage/ledger/closed_days.py has the same formulas).

-- What changes calls of closed days: each row takes a call as it was away (sign -1), or adds it as it is now (sign 1). Its
-- columns are those of usage_logs and its own: a migration that adds a column there adds it here, too.
CREATE TABLE ledger_corrections (
    id       uuid NOT NULL PRIMARY KEY,                              -- UUIDv7 of made_at
    made_at  timestamptz NOT NULL,
    number   bigint GENERATED ALWAYS AS IDENTITY,
    reason   text NOT NULL CHECK (reason IN ('late', 'replaced', 'repriced')),
    sign     smallint NOT NULL CHECK (sign IN (-1, 1)),
    made_by  text NOT NULL,
    note     text,
    LIKE usage_logs
);
CREATE INDEX ledger_corrections_request ON ledger_corrections (request_id, number);
CREATE INDEX ledger_corrections_account ON ledger_corrections (account_id, id);
CREATE INDEX ledger_corrections_key ON ledger_corrections (api_key_id, id);
-- A call comes late once, and its estimate is replaced once.
CREATE UNIQUE INDEX ledger_corrections_once ON ledger_corrections (request_id, reason, sign) WHERE reason <> 'repriced';

-- Id and time are the database's, whoever adds the row.
CREATE FUNCTION stamp_correction() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    NEW.made_at := date_trunc('milliseconds', clock_timestamp());
    NEW.id := (left(uuid7_floor(NEW.made_at)::text, 14) || '7' || right(gen_random_uuid()::text, 21))::uuid;
    RETURN NEW;
END $$;
CREATE TRIGGER ledger_corrections_stamp BEFORE INSERT ON ledger_corrections
    FOR EACH ROW EXECUTE FUNCTION stamp_correction();
CREATE TRIGGER check_after_insert AFTER INSERT ON ledger_corrections REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION note_account_to_check();

CREATE TABLE usage_seals (
    day                  date NOT NULL PRIMARY KEY,                  -- in UTC
    rows                 bigint,                                     -- NULL, as the rest: closed, not sealed yet
    columns              text[],                                     -- of usage_logs, at that time
    digest               bytea,
    corrections          bigint,                                     -- those made on the day
    correction_columns   text[],
    correction_digest    bytea,
    counted_requests     bigint,                                     -- sums of both
    counted_tokens       bigint,
    counted_nano_usd     bigint,
    cost_nano_usd        bigint,
    sealed_at            timestamptz,
    hash                 bytea
);
-- The last seal once more, so that it is missed when it is deleted.
CREATE TABLE usage_seal_head (
    is_only  boolean NOT NULL PRIMARY KEY DEFAULT true CHECK (is_only),
    day      date,
    hash     bytea NOT NULL
);
INSERT INTO usage_seal_head (hash) VALUES ('\x');

-- The first moment after the closed days.
CREATE FUNCTION usage_closed_until() RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT coalesce((max(day) + 1)::timestamp AT TIME ZONE 'UTC', '-infinity') FROM usage_seals
$$;

-- As the owner: a table of the caller's must not stand for the seals.
CREATE FUNCTION refuse_closed_days() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    closed_until timestamptz := usage_closed_until();
BEGIN
    IF closed_until > '-infinity' AND EXISTS (SELECT FROM new_rows WHERE request_id < uuid7_floor(closed_until)) THEN
        RAISE EXCEPTION 'the ledger is closed until %', closed_until USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER refuse_closed_days AFTER INSERT ON usage_logs REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_closed_days();

-- As before, but for calls of closed days.
CREATE OR REPLACE FUNCTION replace_reaped_usage(given jsonb) RETURNS SETOF usage_logs
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    closed_until timestamptz := usage_closed_until();
    first_id uuid := CASE WHEN closed_until > '-infinity' THEN uuid7_floor(closed_until)
        ELSE '00000000-0000-0000-0000-000000000000' END;
    ids uuid[] := ARRAY(SELECT r.request_id FROM jsonb_populate_recordset(NULL::usage_logs, given) AS r
        WHERE r.estimated_why IS DISTINCT FROM 'reaped' AND r.request_id >= first_id);
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

-- Rows and corrections as what they add to the rollups. Where a call is priced again, both of its rows have the same
-- latency, and neither counts it.
CREATE OR REPLACE VIEW usage_as_sums AS
SELECT request_id, account_id, coalesce(user_id, 0) AS user_id, api_key_id, model_id, ending,
    error_class(ending, status, error_code, estimated_why) AS error_class,
    date_bin('15 minutes', started_at, '2000-01-01Z') AS started_at,
    (started_at AT TIME ZONE 'UTC')::date AS day,
    date_trunc('month', started_at AT TIME ZONE 'UTC')::date AS month,
    1::bigint AS calls,
    (ending = 'completed')::integer::bigint AS completed_calls,
    (ending = 'client_disconnected')::integer::bigint AS hung_up_calls,
    estimated::integer::bigint AS estimated_calls,
    (cost_nano_usd IS NULL)::integer::bigint AS unpriced_calls,
    prompt_tokens, completion_tokens, cached_tokens, cache_write_tokens, reasoning_tokens,
    coalesce(cost_nano_usd, 0) AS cost_nano_usd,
    counted_requests::bigint AS counted_requests, counted_tokens, counted_nano_usd,
    (estimated_why IS DISTINCT FROM 'reaped')::integer::bigint AS timed_calls,
    total_ms::bigint AS total_ms,
    (first_byte_ms IS NOT NULL)::integer::bigint AS first_byte_calls,
    coalesce(first_byte_ms, 0)::bigint AS first_byte_ms,
    CASE WHEN estimated_why IS DISTINCT FROM 'reaped'
        THEN ARRAY[(latency_bucket(total_ms)::bigint << 40) + 1] ELSE '{}' END
    || CASE WHEN first_byte_ms IS NOT NULL
        THEN ARRAY[((256 + latency_bucket(first_byte_ms))::bigint << 40) + 1] ELSE '{}' END AS latencies,
    usage_ten_days((started_at AT TIME ZONE 'UTC')::date) AS ten_days,
    coalesce(own_cost_nano_usd, 0) AS own_cost_nano_usd,
    CASE WHEN own_cost_nano_usd IS NULL THEN 0 ELSE coalesce(litellm_cost_nano_usd, 0) END AS litellm_cost_nano_usd
FROM usage_logs
UNION ALL
SELECT id, account_id, coalesce(user_id, 0), api_key_id, model_id, ending,
    error_class(ending, status, error_code, estimated_why),
    date_bin('15 minutes', made_at, '2000-01-01Z'),
    (made_at AT TIME ZONE 'UTC')::date,
    date_trunc('month', made_at AT TIME ZONE 'UTC')::date,
    sign::bigint,
    sign * (ending = 'completed')::integer::bigint,
    sign * (ending = 'client_disconnected')::integer::bigint,
    sign * estimated::integer::bigint,
    sign * (cost_nano_usd IS NULL)::integer::bigint,
    sign * prompt_tokens, sign * completion_tokens, sign * cached_tokens, sign * cache_write_tokens,
    sign * reasoning_tokens,
    sign * coalesce(cost_nano_usd, 0),
    sign * counted_requests::bigint, sign * counted_tokens, sign * counted_nano_usd,
    sign * (estimated_why IS DISTINCT FROM 'reaped')::integer::bigint,
    sign * total_ms::bigint,
    sign * (first_byte_ms IS NOT NULL)::integer::bigint,
    sign * coalesce(first_byte_ms, 0)::bigint,
    CASE WHEN estimated_why IS DISTINCT FROM 'reaped' AND reason <> 'repriced'
        THEN ARRAY[(latency_bucket(total_ms)::bigint << 40) + 1] ELSE '{}' END
    || CASE WHEN first_byte_ms IS NOT NULL AND reason <> 'repriced'
        THEN ARRAY[((256 + latency_bucket(first_byte_ms))::bigint << 40) + 1] ELSE '{}' END,
    usage_ten_days((made_at AT TIME ZONE 'UTC')::date),
    sign * coalesce(own_cost_nano_usd, 0),
    sign * CASE WHEN own_cost_nano_usd IS NULL THEN 0 ELSE coalesce(litellm_cost_nano_usd, 0) END
FROM ledger_corrections;

-- The number of rows of `source` in [first, last) by their UUIDv7 `id`, and a hash over them: SHA-256 of the hashes of its
-- quarters of an hour, each of which is one of the hashes of its rows, as text with these columns.
CREATE FUNCTION digest_ledger(source text, id text, moment text, columns text[], first timestamptz, last timestamptz,
    OUT rows bigint, OUT digest bytea)
LANGUAGE plpgsql SET timezone = 'UTC' SET datestyle = 'ISO, YMD' AS $$
BEGIN
    EXECUTE format($sql$
        SELECT coalesce(sum(q.rows), 0)::bigint, sha256(coalesce(string_agg(q.digest, '' ORDER BY q.quarter), ''))
        FROM (SELECT date_bin('15 minutes', %3$I, '2000-01-01Z') AS quarter, count(*) AS rows,
            sha256(string_agg(sha256(convert_to(ROW (%4$s)::text, 'UTF8')), '' ORDER BY %2$I)) AS digest
            FROM %1$I WHERE %2$I >= uuid7_floor($1) AND %2$I < uuid7_floor($2) GROUP BY 1) AS q
        $sql$, source, id, moment, (SELECT string_agg(quote_ident(c), ', ') FROM unnest(columns) AS c))
        INTO rows, digest USING first, last;
END $$;

CREATE FUNCTION columns_of(source regclass) RETURNS text[] LANGUAGE sql STABLE AS $$
    SELECT array_agg(attname::text ORDER BY attnum) FROM pg_attribute
    WHERE attrelid = source AND attnum > 0 AND NOT attisdropped
$$;

-- Closes the next day that ended eight days ago, and returns it, or one that was closed and not sealed; NULL: there is
-- none, or another is at it. What adds rows at this moment is waited for a second at most: try again later then.
CREATE FUNCTION close_usage_day() RETURNS date LANGUAGE plpgsql SECURITY DEFINER SET lock_timeout = '1s' AS $$
DECLARE
    the_day date;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('litemaas.usage_seals')) THEN
        RETURN NULL;
    END IF;
    SELECT day INTO the_day FROM usage_seals WHERE hash IS NULL;
    IF FOUND THEN
        RETURN the_day;
    END IF;
    the_day := coalesce((SELECT max(day) + 1 FROM usage_seals),
        (SELECT (started_at AT TIME ZONE 'UTC')::date FROM usage_logs ORDER BY request_id LIMIT 1));
    IF the_day IS NULL OR the_day + 9 > (now() AT TIME ZONE 'UTC')::date THEN
        RETURN NULL;
    END IF;
    LOCK TABLE usage_logs, ledger_corrections IN SHARE MODE;
    INSERT INTO usage_seals (day) VALUES (the_day);
    RETURN the_day;
END $$;

-- Seals the day that close_usage_day() returned, with a row in the audit log; false: another is at it. Others may read and
-- write meanwhile.
CREATE FUNCTION seal_usage_day(the_day date, by_whom text) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    first timestamptz := the_day::timestamp AT TIME ZONE 'UTC';
    last timestamptz := (the_day + 1)::timestamp AT TIME ZONE 'UTC';
    head usage_seal_head;
    seal usage_seals;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('litemaas.usage_seals')) THEN
        RETURN false;
    END IF;
    SELECT * INTO STRICT head FROM usage_seal_head FOR UPDATE;
    SELECT * INTO seal FROM usage_seals WHERE day = the_day AND hash IS NULL FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF head.day + 1 <> the_day THEN
        RAISE EXCEPTION 'the seals after % are gone', head.day USING ERRCODE = 'data_corrupted';
    END IF;
    seal.columns := columns_of('usage_logs');
    seal.correction_columns := columns_of('ledger_corrections');
    SELECT * INTO seal.rows, seal.digest
        FROM digest_ledger('usage_logs', 'request_id', 'started_at', seal.columns, first, last);
    SELECT * INTO seal.corrections, seal.correction_digest
        FROM digest_ledger('ledger_corrections', 'id', 'made_at', seal.correction_columns, first, last);
    SELECT coalesce(sum(counted_requests), 0), coalesce(sum(counted_tokens), 0), coalesce(sum(counted_nano_usd), 0),
        coalesce(sum(cost_nano_usd), 0)
        INTO seal.counted_requests, seal.counted_tokens, seal.counted_nano_usd, seal.cost_nano_usd
        FROM usage_as_sums WHERE request_id >= uuid7_floor(first) AND request_id < uuid7_floor(last);
    seal.sealed_at := clock_timestamp();
    seal.hash := sha256(head.hash || convert_to(jsonb_build_array(seal.day, seal.rows, seal.columns, seal.corrections,
        seal.correction_columns, seal.counted_requests, seal.counted_tokens, seal.counted_nano_usd, seal.cost_nano_usd,
        microseconds(seal.sealed_at))::text, 'UTF8') || seal.digest || seal.correction_digest);
    UPDATE usage_seals AS s SET (rows, columns, digest, corrections, correction_columns, correction_digest,
        counted_requests, counted_tokens, counted_nano_usd, cost_nano_usd, sealed_at, hash) = ROW (seal.rows,
        seal.columns, seal.digest, seal.corrections, seal.correction_columns, seal.correction_digest,
        seal.counted_requests, seal.counted_tokens, seal.counted_nano_usd, seal.cost_nano_usd, seal.sealed_at, seal.hash)
        WHERE s.day = the_day;
    UPDATE usage_seal_head SET day = the_day, hash = seal.hash;
    INSERT INTO audit_logs (actor, action, target_kind, target_id, new) VALUES (by_whom, 'ledger.seal_day', 'ledger',
        the_day::text, jsonb_build_object('rows', seal.rows, 'corrections', seal.corrections,
        'hash', encode(seal.hash, 'hex')));
    RETURN true;
END $$;

-- As before, but only a month that is over, and whose days are sealed if it has any rows; the seals stay.
CREATE OR REPLACE FUNCTION detach_usage_partition(before timestamptz) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET lock_timeout = '1s' AS $$
DECLARE
    oldest record;
    is_empty boolean;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('litemaas.usage_partitions'));
    SELECT c.relname, to_date(right(c.relname, 6), 'YYYYMM') AS month INTO oldest
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'usage_logs'::regclass ORDER BY c.relname LIMIT 1;
    IF NOT FOUND OR (oldest.month + interval '1 month') AT TIME ZONE 'UTC' > least(before, now()) THEN
        RETURN NULL;
    END IF;
    EXECUTE format('ALTER TABLE usage_logs DETACH PARTITION %I', oldest.relname);
    -- Nobody adds rows to it any more.
    EXECUTE format('SELECT NOT EXISTS (SELECT FROM %I)', oldest.relname) INTO is_empty;
    IF NOT is_empty AND NOT EXISTS (SELECT FROM usage_seals
        WHERE day = (oldest.month + interval '1 month')::date - 1 AND hash IS NOT NULL) THEN
        RAISE EXCEPTION 'a day of % is not sealed', oldest.relname USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    INSERT INTO usage_months_dropped (month) VALUES (oldest.month) ON CONFLICT DO NOTHING;
    RETURN oldest.relname;
END $$;

REVOKE EXECUTE ON FUNCTION refuse_closed_days(), close_usage_day(), seal_usage_day(date, text) FROM PUBLIC;

DO $$
DECLARE
    app text := current_setting('litemaas.app_role');
    definer regprocedure;
    columns text;
BEGIN
    -- As 0030 says.
    FOR definer IN SELECT oid FROM pg_proc WHERE prosecdef AND pronamespace = current_schema()::regnamespace LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', definer, current_schema());
    END LOOP;
    SELECT string_agg(quote_ident(c), ', ') INTO columns FROM unnest(columns_of('ledger_corrections')) AS c
        WHERE c NOT IN ('id', 'made_at', 'number');
    EXECUTE format('GRANT SELECT, INSERT (%s) ON ledger_corrections TO %I', columns, app);
    EXECUTE format('GRANT SELECT ON usage_seals, usage_seal_head TO %I', app);
    EXECUTE format('GRANT EXECUTE ON FUNCTION close_usage_day(), seal_usage_day(date, text) TO %I', app);
END $$;
