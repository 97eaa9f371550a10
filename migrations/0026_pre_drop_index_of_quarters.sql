-- usage_quarter_hours_model has the time first, too. Dropped by itself: it keeps readers out until the commit, and filling
-- rollups before that takes long.
DROP INDEX usage_quarter_hours_time;
