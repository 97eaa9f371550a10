-- Tells gateways which cached keys to forget: 'a:1,2' accounts, 'u:' users, 'k:' keys, 'm:' models, '*' all.
-- Once a statement, ids only: a payload must stay below 8,000 bytes.

CREATE FUNCTION notify_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    rows text; ids text;
BEGIN
    -- An update that changes nothing tells nothing.
    rows := CASE TG_OP
        WHEN 'INSERT' THEN 'SELECT * FROM new_rows'
        WHEN 'DELETE' THEN 'SELECT * FROM old_rows'
        ELSE '(TABLE old_rows EXCEPT TABLE new_rows) UNION (TABLE new_rows EXCEPT TABLE old_rows)' END;
    EXECUTE format('SELECT string_agg(DISTINCT %1$I::text, '','') FROM (%2$s) AS changed', TG_ARGV[1], rows) INTO ids;
    IF ids IS NOT NULL THEN
        PERFORM pg_notify('litemaas_changes', CASE WHEN length(ids) > 7000 THEN '*' ELSE TG_ARGV[0] || ':' || ids END);
    END IF;
    RETURN NULL;
END $$;

DO $$
DECLARE
    watched record;
BEGIN
    FOR watched IN SELECT * FROM (VALUES
        ('accounts', 'a', 'id'), ('users', 'u', 'id'), ('team_members', 'a', 'account_id'), ('models', 'm', 'id'),
        ('model_prices', 'm', 'model_id'), ('subscriptions', 'a', 'account_id'), ('api_keys', 'k', 'id'),
        ('api_key_models', 'k', 'api_key_id'), ('limits', 'a', 'account_id')) AS w (relation, letter, id) LOOP
        EXECUTE format('CREATE TRIGGER notify_insert AFTER INSERT ON %I REFERENCING NEW TABLE AS new_rows '
            'FOR EACH STATEMENT EXECUTE FUNCTION notify_change(%L, %L)', watched.relation, watched.letter, watched.id);
        EXECUTE format('CREATE TRIGGER notify_update AFTER UPDATE ON %I REFERENCING OLD TABLE AS old_rows '
            'NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION notify_change(%L, %L)',
            watched.relation, watched.letter, watched.id);
        EXECUTE format('CREATE TRIGGER notify_delete AFTER DELETE ON %I REFERENCING OLD TABLE AS old_rows '
            'FOR EACH STATEMENT EXECUTE FUNCTION notify_change(%L, %L)', watched.relation, watched.letter, watched.id);
    END LOOP;
END $$;

-- A counter that a limit left and came back to has missed calls: a higher epoch makes it be seeded anew.
CREATE FUNCTION raise_epoch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE accounts SET epoch = epoch + 1 WHERE id IN (SELECT account_id FROM changed);
    RETURN NULL;
END $$;
CREATE TRIGGER raise_epoch_insert AFTER INSERT ON limits REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION raise_epoch();
CREATE TRIGGER raise_epoch_delete AFTER DELETE ON limits REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION raise_epoch();

CREATE FUNCTION raise_epoch_of_zone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.epoch := OLD.epoch + 1;
    RETURN NEW;
END $$;
CREATE TRIGGER raise_epoch_zone BEFORE UPDATE OF time_zone ON accounts FOR EACH ROW
    WHEN (NEW.time_zone IS DISTINCT FROM OLD.time_zone) EXECUTE FUNCTION raise_epoch_of_zone();
