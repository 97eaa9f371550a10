-- What is due is taken webhook by webhook, so that one with thousands of messages is not in front of the others.
CREATE INDEX deliveries_due_webhook ON deliveries (webhook_id, next_try_at)
    WHERE delivered_at IS NULL AND gave_up_at IS NULL AND webhook_id IS NOT NULL;
