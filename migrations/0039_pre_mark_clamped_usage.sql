-- A row may say that its figures contradict each other: kept as they were reported, charged as far as they can be.

ALTER TABLE usage_logs DROP CONSTRAINT usage_logs_estimated_why_check;
ALTER TABLE usage_logs ADD CONSTRAINT usage_logs_estimated_why_check
    CHECK (estimated_why IN ('reaped', 'no_usage', 'hung_up', 'cut_off', 'clamped')) NOT VALID;
