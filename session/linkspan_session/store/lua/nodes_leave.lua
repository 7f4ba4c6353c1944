-- Give a lease up. KEYS: when leases end, loads. ARGV: node. Answers: ok.
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
return {'ok'}
