-- Add a record, unless it is there.
-- ARGV: layout, token, milliseconds to keep it, then its fields and their values.
-- Answers: newer, there and the record, ok.
local head = redis.call('HMGET', record, 'layout', 'attempts')
if not head[1] then
  redis.call('HSET', record, 'layout', ARGV[1], 'attempts', remember('', ARGV[2], 1),
    unpack(ARGV, 4))
  redis.call('PEXPIRE', record, ARGV[3])
  return {'ok'}
end
local refusal = unreadable(head[1])
if refusal then return refusal end
if version_of_attempt(head[2], ARGV[2]) then return {'ok'} end
return answer_with_record('there')
