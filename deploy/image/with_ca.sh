#!/bin/sh
# Runs a command of the image's build, which trusts the certificates of the build secret `ca`, if there is one.
set -eu
if [ -s /run/secrets/ca ]; then
    export SSL_CERT_FILE=/run/secrets/ca PIP_CERT=/run/secrets/ca NODE_EXTRA_CA_CERTS=/run/secrets/ca
fi
exec "$@"
