-- Read a stream. ARGV: layout, 'id' or 'request', the stream's id or its request's key.
-- Answers: gone, newer, ok and the id, what is fixed, and the state.
local refusal = unreadable(redis.call('HGET', record, 'layout'))
if refusal then return refusal end
local id = ARGV[3]
if ARGV[2] == 'request' then id = redis.call('HGET', KEYS[5], id) end
if not id then return {'gone'} end
local found = redis.call('HMGET', KEYS[2], 's' .. id, 'd' .. id)
if not found[1] then return {'gone'} end
return {'ok', id, found[1], found[2]}
