#!/bin/sh
# Starts Valkey. Its configuration comes from standard input, so that the password is neither in a file nor in the
# arguments, which every process sees.
exec valkey-server - "$@" <<END
# Who has the password may do what the gateways and the admin program do, and nothing else: docs/operations.md.
user default on >${VALKEY_PASSWORD:?} resetkeys ~lm* resetchannels -@all +ping +client|setname +client|setinfo +info +time +script|load +script|exists +eval +evalsha +exists +get +set +hget +hgetall +hkeys +hmget +hset +hdel +pexpire +zadd +zcard +zrange +zremrangebyscore
# Counters may be lost (they are computed again from the ledger) but never evicted: a full Valkey refuses writes, and the
# gateways answer 503, where one without a bound would be killed and forget every counter at once.
save ""
appendonly no
maxmemory 768mb
maxmemory-policy noeviction
END
