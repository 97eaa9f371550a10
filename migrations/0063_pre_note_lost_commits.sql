-- A database that was restored, or promoted without the last commits of another one, has lost epochs that were raised:
-- counters in Redis would be taken for newer than what they should count. So when that is found, the moment becomes a
-- part of every account's epoch. In milliseconds since 1970, for a row that stands for such a moment; 0: a run of Redis.

ALTER TABLE redis_runs ADD COLUMN epochs bigint NOT NULL DEFAULT 0;
