#!/bin/bash
# Run once by the postgres image, on an empty volume: the owner role, which migrates, and the app role, which owns nothing.
set -euo pipefail

psql --quiet --set ON_ERROR_STOP=1 --username postgres \
    --set owner="$POSTGRES_OWNER_PASSWORD" --set app="$POSTGRES_APP_PASSWORD" <<'SQL'
CREATE ROLE litemaas_owner LOGIN PASSWORD :'owner';
CREATE ROLE litemaas_app LOGIN PASSWORD :'app';
CREATE DATABASE litemaas OWNER litemaas_owner;
REVOKE ALL ON DATABASE litemaas FROM PUBLIC;
GRANT CONNECT, TEMPORARY ON DATABASE litemaas TO litemaas_app;
\connect litemaas
REVOKE ALL ON SCHEMA public FROM PUBLIC;
ALTER SCHEMA public OWNER TO litemaas_owner;
SQL
