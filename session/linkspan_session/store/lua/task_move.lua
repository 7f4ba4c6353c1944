-- Note when a task expires, and take it from the indexes that it has left.
-- KEYS: indexes. ARGV: task, when it expires, milliseconds to stay, then for each index '1' or '0':
-- whether the task stays in it. Answers: ok.
for number, key in ipairs(KEYS) do
  if ARGV[3 + number] == '0' then
    redis.call('ZREM', key, ARGV[1])
  else
    redis.call('ZADD', key, 'XX', ARGV[2], ARGV[1])
    if redis.call('PTTL', key) < tonumber(ARGV[3]) then redis.call('PEXPIRE', key, ARGV[3]) end
  end
end
return {'ok'}
