-- An audit row says which account it concerns, everything it is about, so that "all about Ana" is one question, and its
-- cause. The hashes of 0034 cover them in rows that have them; rows of before were hashed without.

ALTER TABLE audit_logs
    ADD COLUMN account_id bigint,                                    -- NULL: of no account, or a row of a version before
    ADD COLUMN about text[],                                         -- kind:id; NULL: a row of a version before
    ADD COLUMN cause text;
CREATE INDEX audit_logs_about ON audit_logs USING gin (about);

CREATE OR REPLACE FUNCTION chain_audit_row(audited audit_logs, now_at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    head audit_chain_head;
    entry audit_chain;
    facts jsonb := jsonb_build_array(audited.id, microseconds(audited.at), audited.action, audited.target_kind,
        audited.target_id, audited.actor_user_id, audited.request_id);
    names jsonb := jsonb_build_array(audited.actor, audited.old::text, audited.new::text, host(audited.ip));
BEGIN
    IF num_nonnulls(audited.account_id, audited.about, audited.cause) > 0 THEN
        facts := facts || jsonb_build_array(audited.account_id, audited.about);
        names := names || jsonb_build_array(audited.cause);
    END IF;
    SELECT * INTO STRICT head FROM audit_chain_head FOR UPDATE;
    entry.position := head.position + 1;
    entry.audit_id := audited.id;
    entry.at := audited.at;
    entry.chained_at := now_at;
    entry.salt := uuid_send(gen_random_uuid());
    entry.facts := sha256(convert_to(facts::text, 'UTF8'));
    entry.names := sha256(entry.salt || convert_to(names::text, 'UTF8'));
    entry.hash := sha256(head.hash || convert_to(jsonb_build_array(entry.position, entry.audit_id,
        microseconds(entry.at), microseconds(entry.chained_at))::text, 'UTF8') || entry.facts || entry.names);
    INSERT INTO audit_chain SELECT entry.*;
    UPDATE audit_chain_head SET position = entry.position, hash = entry.hash;
END $$;

DO $$
BEGIN
    EXECUTE format('GRANT INSERT (account_id, about, cause) ON audit_logs TO %I', current_setting('litemaas.app_role'));
END $$;
