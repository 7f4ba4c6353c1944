-- List the places that may be left over from a crash: all but the newest, and not too often.
-- KEYS: places, a mark. ARGV: seconds until the next list, seconds that a place counts as new, how
-- many at most.
-- Answers: ok and who holds the places.
if not redis.call('SET', KEYS[2], '1', 'NX', 'EX', ARGV[1]) then return {'ok'} end
local before = redis.call('TIME')[1] - ARGV[2]
local answer = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', before, 'LIMIT', 0, ARGV[3])
table.insert(answer, 1, 'ok')
return answer
