-- Put a task on its runner's list.
-- KEYS: the list, by when tasks expire. ARGV: task, the time, when it expires, milliseconds to stay.
-- Answers: ok.
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[2])
local longest = math.max(tonumber(ARGV[4]), redis.call('PTTL', KEYS[1]))
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
redis.call('PEXPIRE', KEYS[1], longest)
return {'ok'}
