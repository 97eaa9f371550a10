-- Whose a response is that is stored at the provider: LiteLLM takes the id of any of them from the gateway's one key.

-- By the day on which its owner was written, in UTC: a day that is over is dropped as a whole.
CREATE TABLE response_owners (
    id_hash       uuid NOT NULL,                                     -- of account and id, see gateway/storage/response_owners.py
    account_id    bigint NOT NULL,
    model_id      bigint NOT NULL,
    total_tokens  integer,                                           -- of its turn; NULL: it was left before its end
    day           date NOT NULL,
    PRIMARY KEY (id_hash, day)
) PARTITION BY RANGE (day);

-- For a day that was not made ahead. No usage row waits for it.
CREATE TABLE response_owners_default PARTITION OF response_owners DEFAULT;

-- Makes yesterday, today and the days ahead; how many it made. Rows of such a day move out of the default partition.
CREATE FUNCTION ensure_response_days(ahead integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET lock_timeout = '1s' AS $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
    its_day date; partition text; made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('litemaas.response_days'));
    FOR n IN -1..least(greatest(ahead, 0), 31) LOOP
        its_day := today + n;
        partition := 'response_owners_' || to_char(its_day, 'YYYYMMDD');
        CONTINUE WHEN to_regclass(partition) IS NOT NULL;
        EXECUTE format('CREATE TABLE %I (LIKE response_owners INCLUDING ALL)', partition);
        EXECUTE format('WITH moved AS (DELETE FROM response_owners_default WHERE day = $1 RETURNING *) '
            'INSERT INTO %I SELECT * FROM moved', partition) USING its_day;
        EXECUTE format('ALTER TABLE response_owners ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', partition,
            its_day, its_day + 1);
        made := made + 1;
    END LOOP;
    RETURN made;
END $$;

-- Drops the days before the last `kept`; their names. It waits for readers and writers a second at most.
CREATE FUNCTION drop_response_days(kept integer) RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET lock_timeout = '1s' AS $$
DECLARE
    oldest date := (now() AT TIME ZONE 'UTC')::date - greatest(kept, 1);
    old text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('litemaas.response_days'));
    FOR old IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'response_owners'::regclass AND c.relname ~ '_[0-9]{8}$'
        AND to_date(right(c.relname, 8), 'YYYYMMDD') < oldest ORDER BY c.relname LOOP
        EXECUTE format('DROP TABLE %I', old);
        RETURN NEXT old;
    END LOOP;
    DELETE FROM response_owners_default WHERE day < oldest;
END $$;

REVOKE EXECUTE ON FUNCTION ensure_response_days(integer), drop_response_days(integer) FROM PUBLIC;

DO $$
DECLARE
    app text := current_setting('litemaas.app_role');
BEGIN
    EXECUTE format('GRANT SELECT, INSERT ON response_owners TO %I', app);
    EXECUTE format('GRANT EXECUTE ON FUNCTION ensure_response_days(integer), drop_response_days(integer) TO %I', app);
END $$;

SELECT ensure_response_days(7);
