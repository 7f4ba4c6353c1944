-- Add a task's record.
-- KEYS: the record. ARGV: layout, token, milliseconds to keep it, then its fields and their values.
-- Answers: there, ok.
local attempt = redis.call('HMGET', KEYS[1], 'layout', 'attempt')
if attempt[1] then return {attempt[2] == ARGV[2] and 'ok' or 'there'} end
redis.call('HSET', KEYS[1], 'layout', ARGV[1], 'attempt', ARGV[2], unpack(ARGV, 4))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return {'ok'}
