-- The time that the limits of a large team took to insert grew by the square of their number: each was compared with
-- every other limit of its account, and each raised the account's tick by one, a row that a transaction then had as many
-- versions of.

-- As the unique index of limits has it, so that it is a look-up there.
CREATE OR REPLACE FUNCTION shares_counter(one limits, other limits) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT one.account_id = other.account_id AND one.level = other.level
        AND coalesce(one.api_key_id, 0) = coalesce(other.api_key_id, 0)
        AND coalesce(one.model_id, 0) = coalesce(other.model_id, 0)
        AND coalesce(one.subscription_id, 0) = coalesce(other.subscription_id, 0)
        AND coalesce(one.user_id, 0) = coalesce(other.user_id, 0)
        AND one.kind = other.kind AND coalesce(one.window_kind, '') = coalesce(other.window_kind, '')
$$;

-- The tick is raised once in a transaction: nobody sees one of its limits before the others. The setting ends with the
-- transaction, or with the savepoint, as the tick does.
CREATE OR REPLACE FUNCTION give_epoch() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    kept bigint;
    raised text[] := string_to_array(current_setting('litemaas.raised_tick', true), '/');
BEGIN
    SELECT max(l.epoch) INTO kept FROM limits l WHERE l.account_id = NEW.account_id AND l.id <> NEW.id
        AND shares_counter(l, NEW) AND (l.expires_at IS NULL OR l.expires_at > now() + interval '1 minute');
    IF kept IS NULL AND raised[1]::bigint = NEW.account_id THEN
        kept := raised[2];
    ELSIF kept IS NULL THEN
        UPDATE accounts SET tick = tick + 1 WHERE id = NEW.account_id RETURNING tick INTO kept;
        PERFORM set_config('litemaas.raised_tick', concat_ws('/', NEW.account_id, kept), true);
    END IF;
    NEW.epoch := kept;
    RETURN NEW;
END $$;
