-- Take a place among a principal's sessions.
-- KEYS: its sessions, by when their places were taken. ARGV: session, how many there may be.
-- Answers: there, full, taken.
if redis.call('ZSCORE', KEYS[1], ARGV[1]) then return {'there'} end
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return {'full'} end
redis.call('ZADD', KEYS[1], redis.call('TIME')[1], ARGV[1])
return {'taken'}
