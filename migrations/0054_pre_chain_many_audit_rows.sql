-- A change of many things writes an audit row for each, and every row a new version of the head of the chain: looking for
-- the last version read all that the transaction had written before, ten thousand times ten thousand for so many rows.
-- Now the setting litemaas.chain_head says where it is. It only says where to look first: also with a wrong one, what is
-- read is the one version that the transaction sees.

CREATE OR REPLACE FUNCTION chain_audit_row(audited audit_logs, now_at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    head audit_chain_head;
    head_at tid := nullif(current_setting('litemaas.chain_head', true), '')::tid;
    entry audit_chain;
    facts jsonb := jsonb_build_array(audited.id, microseconds(audited.at), audited.action, audited.target_kind,
        audited.target_id, audited.actor_user_id, audited.request_id);
    names jsonb := jsonb_build_array(audited.actor, audited.old::text, audited.new::text, host(audited.ip));
BEGIN
    IF num_nonnulls(audited.account_id, audited.about, audited.cause) > 0 THEN
        facts := facts || jsonb_build_array(audited.account_id, audited.about);
        names := names || jsonb_build_array(audited.cause);
    END IF;
    SELECT * INTO head FROM audit_chain_head WHERE ctid = head_at FOR UPDATE;
    IF NOT FOUND THEN
        SELECT * INTO STRICT head FROM audit_chain_head FOR UPDATE;
        SELECT ctid INTO STRICT head_at FROM audit_chain_head;
    END IF;
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
    UPDATE audit_chain_head SET position = entry.position, hash = entry.hash WHERE ctid = head_at
        RETURNING ctid INTO STRICT head_at;
    PERFORM set_config('litemaas.chain_head', head_at::text, true);
END $$;
