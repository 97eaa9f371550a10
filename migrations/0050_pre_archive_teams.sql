-- Teams are archived out of the lists, as keys are, and back into them. Gateways refuse their keys meanwhile; the triggers of
-- 0008 on accounts tell them.

ALTER TABLE accounts ADD COLUMN archived_at timestamptz CHECK (archived_at IS NULL OR kind = 'team');
