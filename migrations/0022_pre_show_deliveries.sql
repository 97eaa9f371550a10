-- Deliveries are shown to admins, newest first: those that wait, those that failed, those of a webhook or of an alert.

ALTER TABLE deliveries ADD COLUMN alert_id bigint REFERENCES alerts (id);
UPDATE deliveries SET alert_id = (payload ->> 'alert_id')::bigint WHERE event = 'limit.threshold_reached';
CREATE INDEX deliveries_alert ON deliveries (alert_id, id DESC) WHERE alert_id IS NOT NULL;
CREATE INDEX deliveries_waiting ON deliveries (id DESC) WHERE delivered_at IS NULL AND gave_up_at IS NULL;
CREATE INDEX deliveries_failed ON deliveries (id DESC) WHERE gave_up_at IS NOT NULL;
