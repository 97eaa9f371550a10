-- What each model sync did, or why it did nothing; kept for a month.

CREATE TABLE model_syncs (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at       timestamptz NOT NULL DEFAULT now(),
    actor    text NOT NULL,
    problem  text,                                                   -- NULL: all is well
    report   jsonb                                                   -- NULL: there was no answer
);
CREATE INDEX model_syncs_at ON model_syncs (at);

DO $$
BEGIN
    EXECUTE format('GRANT SELECT, INSERT, DELETE ON model_syncs TO %I', current_setting('litemaas.app_role'));
END $$;
