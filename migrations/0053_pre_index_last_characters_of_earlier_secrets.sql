-- A key is found by the last four characters of its earlier secret too.
CREATE INDEX api_keys_previous_last_four ON api_keys (previous_last_four) WHERE previous_last_four IS NOT NULL;
