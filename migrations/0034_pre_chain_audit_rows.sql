-- Each audit row gets an entry in a hash chain when its transaction commits, so that a change by the owner shows too:
-- `litemaas audit verify` computes it again (admin_api/storage/audit_chain.py has the same formulas). Names and addresses
-- of people are hashed apart from the rest, with a salt: they can be taken out of a row, with its salt, and the chain holds.

ALTER TABLE audit_logs ADD COLUMN actor_user_id bigint;              -- NULL: no user, or a row of a version before

CREATE TABLE audit_chain (
    position    bigint NOT NULL PRIMARY KEY,
    audit_id    bigint NOT NULL UNIQUE,                              -- stays when the row is pruned
    at          timestamptz NOT NULL,                                -- of the row
    chained_at  timestamptz NOT NULL,
    facts       bytea NOT NULL,
    names       bytea NOT NULL,
    salt        bytea,                                               -- NULL: the row was pruned
    hash        bytea NOT NULL
);
-- The last entry once more, so that it is missed when it is deleted. Commits of audited changes queue up at this row.
CREATE TABLE audit_chain_head (
    is_only   boolean NOT NULL PRIMARY KEY DEFAULT true CHECK (is_only),
    position  bigint NOT NULL,
    hash      bytea NOT NULL
);
INSERT INTO audit_chain_head (position, hash) VALUES (0, '\x');

CREATE FUNCTION microseconds(moment timestamptz) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT (extract(epoch FROM moment) * 1000000)::bigint
$$;

CREATE FUNCTION chain_audit_row(audited audit_logs, now_at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    head audit_chain_head;
    entry audit_chain;
BEGIN
    SELECT * INTO STRICT head FROM audit_chain_head FOR UPDATE;
    entry.position := head.position + 1;
    entry.audit_id := audited.id;
    entry.at := audited.at;
    entry.chained_at := now_at;
    entry.salt := uuid_send(gen_random_uuid());
    entry.facts := sha256(convert_to(jsonb_build_array(audited.id, microseconds(audited.at), audited.action,
        audited.target_kind, audited.target_id, audited.actor_user_id, audited.request_id)::text, 'UTF8'));
    entry.names := sha256(entry.salt || convert_to(jsonb_build_array(audited.actor, audited.old::text,
        audited.new::text, host(audited.ip))::text, 'UTF8'));
    entry.hash := sha256(head.hash || convert_to(jsonb_build_array(entry.position, entry.audit_id,
        microseconds(entry.at), microseconds(entry.chained_at))::text, 'UTF8') || entry.facts || entry.names);
    INSERT INTO audit_chain SELECT entry.*;
    UPDATE audit_chain_head SET position = entry.position, hash = entry.hash;
END $$;

CREATE FUNCTION chain_new_audit_row() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    PERFORM chain_audit_row(NEW, clock_timestamp());
    RETURN NULL;
END $$;

-- At the commit, when the transaction waits for no other lock: so audited changes queue up for as long as a commit takes,
-- and never in a circle.
CREATE CONSTRAINT TRIGGER audit_logs_chain AFTER INSERT ON audit_logs DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION chain_new_audit_row();

-- The rows of before, as they are today.
SET LOCAL statement_timeout = '1h';
DO $$
DECLARE
    audited audit_logs;
BEGIN
    FOR audited IN SELECT * FROM audit_logs ORDER BY id LOOP
        PERFORM chain_audit_row(audited, audited.at);
    END LOOP;
END $$;

-- As before, and the salts go with the names: a hash without its salt cannot be compared with a guess.
CREATE OR REPLACE FUNCTION prune_audit_logs(before timestamptz, by_whom text) RETURNS bigint
LANGUAGE plpgsql SECURITY INVOKER SET search_path FROM CURRENT AS $$
DECLARE
    pruned bigint;
BEGIN
    IF before > now() - interval '90 days' THEN
        RAISE EXCEPTION 'audit rows are kept for 90 days at least' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM set_config('litemaas.prunes_audit', 'on', true);
    UPDATE audit_chain AS c SET salt = NULL FROM audit_logs AS a WHERE a.at < before AND c.audit_id = a.id;
    DELETE FROM audit_logs WHERE at < before;
    GET DIAGNOSTICS pruned = ROW_COUNT;
    PERFORM set_config('litemaas.prunes_audit', '', true);
    INSERT INTO audit_logs (actor, action, target_kind, target_id, new)
        VALUES (by_whom, 'audit.prune', 'audit', 'all', jsonb_build_object('before', before, 'pruned', pruned));
    RETURN pruned;
END $$;

REVOKE EXECUTE ON FUNCTION chain_audit_row(audit_logs, timestamptz), chain_new_audit_row() FROM PUBLIC;

DO $$
DECLARE
    app text := current_setting('litemaas.app_role');
    definer regprocedure;
BEGIN
    -- As 0030 says.
    FOR definer IN SELECT oid FROM pg_proc WHERE prosecdef AND pronamespace = current_schema()::regnamespace LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', definer, current_schema());
    END LOOP;
    EXECUTE format('GRANT SELECT ON audit_chain, audit_chain_head TO %I', app);
    EXECUTE format('GRANT INSERT (actor_user_id) ON audit_logs TO %I', app);
END $$;
