#!/bin/sh
# Installs what `make image` needs, where no engine runs: buildah and mmdebstrap, as root on Debian. CI calls it.
set -eu
if docker info > /dev/null 2>&1 || podman info > /dev/null 2>&1; then
    exit 0
fi
if command -v buildah > /dev/null && command -v mmdebstrap > /dev/null; then
    exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
    echo "No container engine was found: start docker or podman, or run this as root on Debian." >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq --no-install-recommends buildah mmdebstrap > /dev/null
