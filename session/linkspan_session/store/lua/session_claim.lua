-- Make a server the owner, with the next epoch.
-- ARGV: layout, token, server, the epoch that was seen.
-- Answers: gone, newer, refused, ok and the record.
local head = redis.call('HMGET', record,
  'layout', 'attempts', 'owner', 'epoch', 'closed', 'version')
local refusal = unreadable(head[1])
if refusal then return refusal end
local epoch = tonumber(head[4])
local next_epoch = tonumber(ARGV[4]) + 1
if version_of_attempt(head[2], ARGV[2]) then
  if head[3] ~= ARGV[3] or epoch ~= next_epoch then return {'refused'} end
else
  if head[5] ~= '' or epoch ~= tonumber(ARGV[4]) then return {'refused'} end
  redis.call('HSET', record, 'layout', ARGV[1], 'owner', ARGV[3], 'epoch', next_epoch,
    'void', '', 'attempts', remember(head[2], ARGV[2], head[6]))
end
return answer_with_record('ok')
