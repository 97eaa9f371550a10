-- People name keys by their last four characters, as lists show them.
CREATE INDEX api_keys_last_four ON api_keys (last_four);
