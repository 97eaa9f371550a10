-- E-mails that waited are sent as one digest a person, and those that are out of date are dropped. E-mails that wait for a
-- mail server have next_try_at infinity: they are not looked at until there is one.

ALTER TABLE deliveries ADD COLUMN dropped_at timestamptz;            -- with gave_up_at
CREATE INDEX deliveries_dropped ON deliveries (id DESC) WHERE dropped_at IS NOT NULL;
CREATE INDEX deliveries_due_user ON deliveries (user_id, next_try_at)
    WHERE delivered_at IS NULL AND gave_up_at IS NULL AND user_id IS NOT NULL;
