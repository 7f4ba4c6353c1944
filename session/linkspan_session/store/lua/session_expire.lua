-- Close a session as expired if it is due, and remove it if it was closed long enough.
-- ARGV: layout, the time, until when a closed record stays, milliseconds that it stays beyond that.
-- Answers: gone, newer, later and when to look again, closed.
local head = redis.call('HMGET', record, 'layout', 'closed', 'expires', 'epoch')
local refusal = unreadable(head[1])
if refusal then return refusal end
local now = tonumber(ARGV[2])
if tonumber(head[3]) > now then return {'later', head[3]} end
-- Removing frees memory, so it comes before the writes that need some.
redis.call('UNLINK', unpack(KEYS, 2))
if head[2] ~= '' then
  redis.call('UNLINK', record)
  return {'gone'}
end
redis.call('HSET', record, 'layout', ARGV[1], 'closed', 'expired', 'owner', '',
  'epoch', tonumber(head[4]) + 1, 'expires', ARGV[3], 'log_bytes', 0, 'storage_bytes', 0)
redis.call('PEXPIRE', record, math.max(tonumber(ARGV[3]) - now, 0) + tonumber(ARGV[4]))
return {'closed'}
