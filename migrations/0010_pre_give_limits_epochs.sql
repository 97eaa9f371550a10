-- Each limit has an epoch of its own: a counter older than that has missed calls and is seeded anew from the ledger.
-- So a limit that is added or comes back has its own counter made, and those of all others go on being exact. What is
-- wrong for a whole account (another time zone, a repair) still raises the account's epoch. Both come of one tick.

ALTER TABLE accounts ADD COLUMN tick bigint;
UPDATE accounts SET tick = epoch;
ALTER TABLE accounts ALTER COLUMN tick SET NOT NULL, ALTER COLUMN tick SET DEFAULT 1;
ALTER TABLE limits ADD COLUMN epoch bigint NOT NULL DEFAULT 0;

DROP TRIGGER raise_epoch_insert ON limits;
DROP TRIGGER raise_epoch_delete ON limits;
DROP FUNCTION raise_epoch();

-- Limits of one kind, window and target share a counter, whoever set them.
CREATE FUNCTION shares_counter(one limits, other limits) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT one.account_id = other.account_id AND one.level = other.level AND one.kind = other.kind
        AND one.api_key_id IS NOT DISTINCT FROM other.api_key_id AND one.model_id IS NOT DISTINCT FROM other.model_id
        AND one.subscription_id IS NOT DISTINCT FROM other.subscription_id
        AND one.user_id IS NOT DISTINCT FROM other.user_id AND one.window_kind IS NOT DISTINCT FROM other.window_kind
$$;

-- A limit that calls did not pass until now: added, or expired and given more time. If another one has kept its
-- counter all the while, and keeps it until every gateway knows, nothing was missed.
CREATE FUNCTION give_epoch() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    kept bigint;
BEGIN
    SELECT max(l.epoch) INTO kept FROM limits l WHERE l.account_id = NEW.account_id AND l.id <> NEW.id
        AND shares_counter(l, NEW) AND (l.expires_at IS NULL OR l.expires_at > now() + interval '1 minute');
    IF kept IS NULL THEN
        UPDATE accounts SET tick = tick + 1 WHERE id = NEW.account_id RETURNING tick INTO kept;
    END IF;
    NEW.epoch := kept;
    RETURN NEW;
END $$;
CREATE TRIGGER give_epoch_insert BEFORE INSERT ON limits FOR EACH ROW EXECUTE FUNCTION give_epoch();
CREATE TRIGGER give_epoch_revival BEFORE UPDATE OF expires_at ON limits FOR EACH ROW
    WHEN (OLD.expires_at <= now() AND NEW.expires_at IS DISTINCT FROM OLD.expires_at)
    EXECUTE FUNCTION give_epoch();

-- What is left of limits that shared a counter asks for no less than they did together: a gateway that knows of the
-- removal must not look as if it knew less than one that does not.
CREATE FUNCTION hand_on_epoch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE limits l SET epoch = OLD.epoch WHERE l.account_id = OLD.account_id AND shares_counter(l, OLD)
        AND l.epoch < OLD.epoch;
    RETURN NULL;
END $$;
CREATE TRIGGER hand_on_epoch AFTER DELETE ON limits FOR EACH ROW EXECUTE FUNCTION hand_on_epoch();

CREATE FUNCTION raise_epoch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.tick := OLD.tick + 1;
    NEW.epoch := NEW.tick;
    RETURN NEW;
END $$;
DROP TRIGGER raise_epoch_zone ON accounts;
DROP FUNCTION raise_epoch_of_zone();
CREATE TRIGGER raise_epoch_zone BEFORE UPDATE OF time_zone ON accounts FOR EACH ROW
    WHEN (NEW.time_zone IS DISTINCT FROM OLD.time_zone) EXECUTE FUNCTION raise_epoch();
CREATE TRIGGER raise_epoch_repair BEFORE UPDATE OF epoch ON accounts FOR EACH ROW
    WHEN (NEW.epoch IS DISTINCT FROM OLD.epoch) EXECUTE FUNCTION raise_epoch();
