-- Take a place among a principal's tasks.
-- KEYS: all its tasks, its unfinished ones, both by when they expire. ARGV: task, the time, when it
-- expires, how many may be unfinished, how many there may be, milliseconds to stay beyond its time,
-- '1' if it has finished.
-- Answers: full, taken.
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ARGV[2])
if redis.call('ZSCORE', KEYS[1], ARGV[1]) then return {'taken'} end
if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[4])
  or redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[5]) then
  return {'full'}
end
local left = math.max(ARGV[3] - ARGV[2], 0) + ARGV[6]
for _, key in ipairs(ARGV[7] == '1' and {KEYS[1]} or KEYS) do
  local longest = math.max(left, redis.call('PTTL', key))
  redis.call('ZADD', key, ARGV[3], ARGV[1])
  redis.call('PEXPIRE', key, longest)
end
return {'taken'}
