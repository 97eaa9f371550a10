-- A person is anonymised: their names and addresses go from everywhere, also from rows that are only added. Audit rows keep
-- their entries in the hash chain (0034): the salt goes with the names, and what is left of the row is hashed beside it.

ALTER TABLE users
    ADD COLUMN anonymised_at timestamptz,
    ADD COLUMN known_as text[] NOT NULL DEFAULT '{}';                -- addresses and names of before

-- So that what was written under an earlier name is found, whatever became of the audit row of the change.
CREATE FUNCTION keep_earlier_names() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.anonymised_at IS NULL THEN
        NEW.known_as := ARRAY(SELECT DISTINCT one FROM unnest(OLD.known_as || OLD.email || OLD.name) AS one
            WHERE one NOT IN ('', NEW.email, NEW.name));
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER users_keep_earlier_names BEFORE UPDATE OF email, name ON users FOR EACH ROW
    WHEN (NEW.email <> OLD.email OR NEW.name <> OLD.name) EXECUTE FUNCTION keep_earlier_names();

-- What audit rows of a user's own changes say of earlier ones. `user.keep_email` names another user's address.
CREATE FUNCTION names_in_audit(which bigint) RETURNS SETOF text LANGUAGE sql STABLE AS $$
    SELECT DISTINCT said.name
    FROM audit_logs AS a CROSS JOIN LATERAL (VALUES (a.old ->> 'email'), (a.new ->> 'email'), (a.old ->> 'name'),
        (a.new ->> 'name'), (a.old ->> 'subject'), (a.new ->> 'subject')) AS said (name)
    WHERE a.target_kind = 'user' AND a.target_id = which::text AND a.action <> 'user.keep_email' AND said.name <> ''
$$;
UPDATE users AS u SET known_as = earlier.names
FROM (SELECT o.id, ARRAY(SELECT n FROM names_in_audit(o.id) AS n WHERE n NOT IN (o.email, o.name)) AS names
    FROM users AS o) AS earlier
WHERE earlier.id = u.id AND cardinality(earlier.names) > 0;

-- The user's addresses, names, names at identity providers and network addresses. Those that are `sure` mean this person
-- wherever they stand: an e-mail address, a name of two words or more that no other user has, a long identifier. The others
-- do in what is theirs.
CREATE FUNCTION names_of_user(which bigint) RETURNS TABLE (name text, sure boolean) LANGUAGE sql STABLE AS $$
    SELECT n.name, bool_or(n.is_name AND (n.name ~ '@' OR n.name ~ '\S\s+\S' OR length(n.name) >= 20))
        AND NOT EXISTS (SELECT FROM users AS o WHERE o.id <> which AND lower(o.name) = lower(n.name))
    FROM (
        SELECT btrim(unnest(ARRAY[u.email, u.name] || u.known_as)) AS name, true AS is_name FROM users AS u
            WHERE u.id = which
        UNION SELECT btrim(unnest(ARRAY[i.reported_email, i.reported_name, i.subject])), true FROM identities AS i
            WHERE i.user_id = which
        UNION SELECT btrim(names_in_audit(which)), true
        UNION SELECT host(s.ip), false FROM sessions AS s WHERE s.user_id = which
        UNION SELECT host(network), false FROM api_keys AS k, unnest(k.allowed_ips) AS network WHERE k.user_id = which
    ) AS n
    WHERE length(n.name) >= 2 AND NOT EXISTS (SELECT FROM users AS o WHERE o.id <> which AND o.email = lower(n.name))
    GROUP BY n.name
$$;

-- A regular expression that finds the words, in whatever case and not as parts of others; NULL without any. After `\n`, as
-- JSON writes the end of a line, a word begins.
CREATE FUNCTION words_pattern(words text[]) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT string_agg(CASE WHEN w.is_address
            THEN '(?:(?<![[:alnum:]._+-])|(?<=\\[bfnrt]))(?:' || w.one_of || ')(?![[:alnum:]-]|\.[[:alnum:]])'
            ELSE '(?:(?<![[:alnum:]_])|(?<=\\[bfnrt]))(?:' || w.one_of || ')(?![[:alnum:]_])' END, '|')
    FROM (
        SELECT word ~ '@|%40' AS is_address,
            string_agg(regexp_replace(word, '([\\^$.|?*+(){}\[\]-])', '\\\1', 'g'), '|' ORDER BY length(word) DESC) AS one_of
        FROM (SELECT unnest(words) AS word UNION SELECT replace(unnest(words), '@', '%40')) AS spelled
        GROUP BY word ~ '@|%40'
    ) AS w
$$;

-- `sure` finds what makes a text one about the user, `every` all that is replaced then; `…_json` the same in JSON.
-- `likes`, for LIKE ANY over text in lower case, finds at once most texts that `sure` would not find.
CREATE FUNCTION name_patterns(which bigint, OUT sure text, OUT every text, OUT sure_json text, OUT every_json text,
    OUT likes text[])
LANGUAGE sql STABLE AS $$
    SELECT words_pattern(array_agg(n.name) FILTER (WHERE n.sure)), words_pattern(array_agg(n.name)),
        words_pattern(array_agg(j.name) FILTER (WHERE n.sure)), words_pattern(array_agg(j.name)),
        (SELECT array_agg(DISTINCT '%' || regexp_replace(lower(word), '([\\%_])', '\\\1', 'g') || '%')
            FROM unnest(array_agg(n.name) FILTER (WHERE n.sure) || array_agg(j.name) FILTER (WHERE n.sure)
                || array_agg(replace(n.name, '@', '%40')) FILTER (WHERE n.sure)) AS word)
    FROM names_of_user(which) AS n
    CROSS JOIN LATERAL (SELECT substr(q.text, 2, length(q.text) - 2) AS name FROM (SELECT to_jsonb(n.name)::text) AS q (text)) AS j
$$;

-- What stands in the place of every name; also the user's address from now on, to which no mail goes (RFC 2606).
CREATE FUNCTION anonymised_name(which bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT 'anonymised-' || which || '@users.invalid'
$$;

CREATE FUNCTION names_someone(value text, likes text[], sure text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN lower(value) LIKE ANY (likes) THEN value ~* sure ELSE false END
$$;

CREATE FUNCTION without_names(value text, sure text, every text, is_own boolean, instead text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN is_own OR value ~* sure THEN regexp_replace(value, every, instead, 'gi') ELSE value END
$$;

-- What is left of the audit rows of anonymised users: the hash of their names, as audit_chain.names. The audit row
-- `user.anonymise` has a hash over all entries of its user, so that no row can be added here, or changed, unseen.
CREATE TABLE audit_erasures (
    number    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id   bigint NOT NULL,
    audit_id  bigint NOT NULL,
    salt      bytea,                                                 -- NULL: pruned, or erased again for another user
    names     bytea NOT NULL,
    UNIQUE (audit_id, user_id)
);
CREATE INDEX audit_erasures_user ON audit_erasures (user_id);

-- As chain_audit_row() of 0042 hashes it.
CREATE FUNCTION hash_of_names(salt bytea, audited audit_logs) RETURNS bytea LANGUAGE sql STABLE AS $$
    SELECT sha256(salt || convert_to((
        jsonb_build_array(audited.actor, audited.old::text, audited.new::text, host(audited.ip))
        || CASE WHEN num_nonnulls(audited.account_id, audited.about, audited.cause) > 0
            THEN jsonb_build_array(audited.cause) ELSE '[]' END)::text, 'UTF8'))
$$;

CREATE FUNCTION refuse_change_of_audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND current_setting('litemaas.erases_names', true) = 'on' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
DROP TRIGGER audit_logs_append_only ON audit_logs;
CREATE TRIGGER audit_logs_append_only BEFORE UPDATE OR TRUNCATE ON audit_logs
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_audit();

-- Takes the user's names out of the rows that the app's role only adds: audit rows and the history of subscriptions. It
-- waits for changes under way, whose rows it could not see, and new ones wait for it. Facts (ids, times, what was done)
-- stay. `rows` and `digest` belong into the audit row of the act, without which `litemaas audit verify` reports the rows.
CREATE FUNCTION erase_names_of_user(which bigint, OUT rows bigint, OUT digest bytea)
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    instead text := anonymised_name(which);
    sure text; every text; sure_json text; every_json text; likes text[];
    erased bigint[];
BEGIN
    LOCK TABLE audit_logs IN SHARE ROW EXCLUSIVE MODE;
    SELECT p.sure, p.every, p.sure_json, p.every_json, p.likes INTO sure, every, sure_json, every_json, likes
        FROM name_patterns(which) AS p;
    PERFORM set_config('litemaas.erases_names', 'on', true);
    WITH concerned AS MATERIALIZED (
        SELECT c.*, (c.actor_user_id IS NOT DISTINCT FROM which OR c.actor LIKE 'login:%') AS is_their_address
        FROM (
            SELECT a.id, a.actor, a.old, a.new, a.cause, a.ip, a.actor_user_id,
                coalesce(a.actor_user_id = which, false) OR coalesce(a.about @> ARRAY['user:' || which], false)
                    OR (a.target_kind = 'user' AND a.target_id = which::text) AS is_own
            FROM audit_logs AS a
        ) AS c
        WHERE c.is_own OR names_someone(c.actor, likes, sure) OR names_someone(c.cause, likes, sure)
            OR names_someone(c.old::text, likes, sure_json) OR names_someone(c.new::text, likes, sure_json)
    ), rewritten AS MATERIALIZED (
        SELECT c.id, uuid_send(gen_random_uuid()) AS salt,
            without_names(c.actor, sure, every, is_own, instead) AS actor,
            without_names(c.old::text, sure_json, every_json, is_own, instead)::jsonb AS old,
            without_names(c.new::text, sure_json, every_json, is_own, instead)::jsonb AS new,
            without_names(c.cause, sure, every, is_own, instead) AS cause,
            CASE WHEN NOT is_their_address THEN c.ip END AS ip
        FROM concerned AS c
    ), changed AS (
        UPDATE audit_logs AS a SET actor = r.actor, old = r.old, new = r.new, cause = r.cause, ip = r.ip
        FROM rewritten AS r
        WHERE r.id = a.id AND (r.actor, r.old, r.new, r.cause, r.ip) IS DISTINCT FROM (a.actor, a.old, a.new, a.cause, a.ip)
        RETURNING a.id, r.salt, hash_of_names(r.salt, a) AS names
    ), noted AS (
        INSERT INTO audit_erasures (user_id, audit_id, salt, names) SELECT which, c.id, c.salt, c.names FROM changed AS c
        RETURNING audit_id
    )
    SELECT coalesce(array_agg(n.audit_id), '{}') INTO erased FROM noted AS n;
    PERFORM set_config('litemaas.erases_names', '', true);
    UPDATE audit_chain SET salt = NULL WHERE audit_id = ANY (erased);
    UPDATE audit_erasures SET salt = NULL WHERE audit_id = ANY (erased) AND user_id <> which;
    UPDATE subscription_history AS h SET actor = without_names(h.actor, sure, every, own.is_own, instead),
        reason = without_names(h.reason, sure, every, own.is_own, instead)
    FROM subscriptions AS s JOIN accounts AS a ON a.id = s.account_id
        CROSS JOIN LATERAL (SELECT coalesce(a.owner_user_id = which, false) AS is_own) AS own
    WHERE s.id = h.subscription_id
        AND (own.is_own OR names_someone(h.actor, likes, sure) OR names_someone(h.reason, likes, sure));
    SELECT count(*), sha256(coalesce(string_agg(int8send(e.audit_id) || e.names, '' ORDER BY e.audit_id), ''))
        INTO rows, digest FROM audit_erasures AS e WHERE e.user_id = which;
END $$;

-- As before, with the salts of erasures.
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
    UPDATE audit_erasures AS e SET salt = NULL FROM audit_logs AS a WHERE a.at < before AND e.audit_id = a.id;
    DELETE FROM audit_logs WHERE at < before;
    GET DIAGNOSTICS pruned = ROW_COUNT;
    PERFORM set_config('litemaas.prunes_audit', '', true);
    INSERT INTO audit_logs (actor, action, target_kind, target_id, new)
        VALUES (by_whom, 'audit.prune', 'audit', 'all', jsonb_build_object('before', before, 'pruned', pruned));
    RETURN pruned;
END $$;

REVOKE EXECUTE ON FUNCTION erase_names_of_user(bigint) FROM PUBLIC;

DO $$
DECLARE
    app text := current_setting('litemaas.app_role');
    definer regprocedure;
BEGIN
    -- As 0030 says.
    FOR definer IN SELECT oid FROM pg_proc WHERE prosecdef AND pronamespace = current_schema()::regnamespace LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', definer, current_schema());
    END LOOP;
    EXECUTE format('GRANT SELECT ON audit_erasures TO %I', app);
    EXECUTE format('GRANT UPDATE (actor, problem) ON model_syncs TO %I', app);
    EXECUTE format('GRANT EXECUTE ON FUNCTION erase_names_of_user(bigint) TO %I', app);
END $$;
