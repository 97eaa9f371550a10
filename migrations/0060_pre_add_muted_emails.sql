-- Which events a person wants no e-mail about.
ALTER TABLE users ADD COLUMN muted_emails text[] NOT NULL DEFAULT '{}';
