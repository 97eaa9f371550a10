#!/bin/sh
# Writes deploy/.env with random secrets, once: an existing one is kept, because the database has its passwords.
set -eu
cd "$(dirname "$0")"
if [ -e .env ]; then
    echo "deploy/.env is there already." >&2
    exit 1
fi
umask 077
cat > .env <<END
POSTGRES_PASSWORD=$(openssl rand -hex 24)
POSTGRES_OWNER_PASSWORD=$(openssl rand -hex 24)
POSTGRES_APP_PASSWORD=$(openssl rand -hex 24)
VALKEY_PASSWORD=$(openssl rand -hex 24)
LITEMAAS_ADMIN_TOKEN=$(openssl rand -hex 32)
LITEMAAS_KEY_PEPPERS=1:$(openssl rand -hex 32)
LITEMAAS_SECRET_KEYS=1:$(openssl rand -hex 32)
LITEMAAS_LITELLM_API_KEY=sk-$(openssl rand -hex 32)
GRAFANA_PASSWORD=$(openssl rand -hex 24)
END
echo "deploy/.env is written. Keep it: keys and sealed secrets do not open without it."
