-- An admin may say from when a price counts: next month's, or one that was wrong all of yesterday. The row is added by this
-- function, for the app's role cannot give `effective_at`; `created_at`, which shows that a version is of a later time than
-- it says, stays the database's.

-- Adds a version with the fields of `price`, in force from `starts`.
CREATE FUNCTION add_dated_price(price jsonb, starts timestamptz) RETURNS SETOF model_prices
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    columns text;
BEGIN
    IF starts IS NULL OR starts NOT BETWEEN '2000-01-01Z' AND now() + interval '10 years' THEN
        RAISE EXCEPTION 'a price cannot begin at %', starts USING ERRCODE = 'check_violation';
    END IF;
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO columns FROM pg_attribute
        WHERE attrelid = 'model_prices'::regclass AND attnum > 0 AND NOT attisdropped
        AND attname NOT IN ('id', 'effective_at', 'created_at');
    RETURN QUERY EXECUTE format('INSERT INTO model_prices (effective_at, %1$s) SELECT $2, %1$s
        FROM jsonb_populate_record(NULL::model_prices, $1) RETURNING *', columns) USING price, starts;
END $$;
REVOKE EXECUTE ON FUNCTION add_dated_price(jsonb, timestamptz) FROM PUBLIC;

DO $$
BEGIN
    EXECUTE format('GRANT EXECUTE ON FUNCTION add_dated_price(jsonb, timestamptz) TO %I',
        current_setting('litemaas.app_role'));
    -- As 0030 says: temporary tables come last.
    EXECUTE format('ALTER FUNCTION add_dated_price(jsonb, timestamptz) SET search_path = %I, pg_temp', current_schema());
END $$;
