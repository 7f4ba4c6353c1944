-- Read all of a session's storage. ARGV: layout.
-- Answers: gone, newer, ok and the keys and values.
local refusal = unreadable(redis.call('HGET', record, 'layout'))
if refusal then return refusal end
local answer = redis.call('HGETALL', KEYS[6])
table.insert(answer, 1, 'ok')
return answer
