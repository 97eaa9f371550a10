-- Which model_not_found a refused call had: its caller reads the same sentence for all of them. NULL: another code, or a call
-- that an earlier version kept.

ALTER TABLE refused_calls ADD COLUMN missing_cause text CHECK (length(missing_cause) <= 40);
