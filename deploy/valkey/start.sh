#!/bin/sh
# Starts Valkey. Its configuration comes from standard input, so that the password is neither in a file nor in the
# arguments, which every process sees.
exec valkey-server - "$@" <<END
requirepass ${VALKEY_PASSWORD:?}
# Counters may be lost (they are computed again from the ledger) but never evicted: a full Valkey refuses writes, and the
# gateways answer 503, where one without a bound would be killed and forget every counter at once.
save ""
appendonly no
maxmemory 768mb
maxmemory-policy noeviction
END
