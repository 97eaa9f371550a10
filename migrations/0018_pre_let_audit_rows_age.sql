-- Audit rows may go when they are old, and in no other way: by a function that only the owner may call, which leaves a
-- row about it. The app's role can do nothing but read and add.

DROP TRIGGER audit_logs_append_only ON audit_logs;
CREATE TRIGGER audit_logs_append_only BEFORE UPDATE OR TRUNCATE ON audit_logs
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE FUNCTION refuse_young_rows() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF current_setting('litemaas.prunes_audit', true) IS DISTINCT FROM 'on' OR OLD.at > now() - interval '90 days' THEN
        RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN OLD;
END $$;
CREATE TRIGGER audit_logs_keep BEFORE DELETE ON audit_logs FOR EACH ROW EXECUTE FUNCTION refuse_young_rows();

-- Deletes rows from before `before`, which is 90 days ago at least; how many. As who calls it, not as who made it.
CREATE FUNCTION prune_audit_logs(before timestamptz, by_whom text) RETURNS bigint
LANGUAGE plpgsql SECURITY INVOKER SET search_path FROM CURRENT AS $$
DECLARE
    pruned bigint;
BEGIN
    IF before > now() - interval '90 days' THEN
        RAISE EXCEPTION 'audit rows are kept for 90 days at least' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM set_config('litemaas.prunes_audit', 'on', true);
    DELETE FROM audit_logs WHERE at < before;
    GET DIAGNOSTICS pruned = ROW_COUNT;
    PERFORM set_config('litemaas.prunes_audit', '', true);
    INSERT INTO audit_logs (actor, action, target_kind, target_id, new)
        VALUES (by_whom, 'audit.prune', 'audit', 'all', jsonb_build_object('before', before, 'pruned', pruned));
    RETURN pruned;
END $$;
REVOKE EXECUTE ON FUNCTION prune_audit_logs(timestamptz, text), refuse_young_rows() FROM PUBLIC;

CREATE INDEX audit_logs_at ON audit_logs (at);
CREATE INDEX audit_logs_actor ON audit_logs (actor, id DESC);
CREATE INDEX audit_logs_action ON audit_logs (action, id DESC);
CREATE INDEX audit_logs_request ON audit_logs (request_id) WHERE request_id IS NOT NULL;
