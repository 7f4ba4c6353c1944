-- Write a changed task over the version that it was made from.
-- KEYS: the record. ARGV: layout, token, milliseconds to keep it, the version, whether it has
-- finished, when it expires, the rest.
-- Answers: gone, newer, refused, ok and '1' if the indexes are to follow.
local head = redis.call('HMGET', KEYS[1], 'layout', 'attempt', 'version', 'finished', 'expires')
if not head[1] then return {'gone'} end
if tonumber(head[1]) > tonumber(ARGV[1]) then return {'newer'} end
if head[2] == ARGV[2] then return {'ok', '1'} end
if tonumber(head[3]) ~= tonumber(ARGV[4]) then return {'refused'} end
redis.call('HSET', KEYS[1], 'attempt', ARGV[2], 'version', tonumber(ARGV[4]) + 1,
  'finished', ARGV[5], 'expires', ARGV[6], 'body', ARGV[7])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return {'ok', (head[4] == ARGV[5] and head[5] == ARGV[6]) and '0' or '1'}
