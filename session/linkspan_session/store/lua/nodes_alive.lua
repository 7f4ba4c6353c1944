-- Tell which nodes hold a lease, by this server's clock. KEYS: when leases end. ARGV: nodes.
-- Answers: ok, then '1' or '0' for each.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local answer = {'ok'}
for _, node in ipairs(ARGV) do
  local ends = redis.call('ZSCORE', KEYS[1], node)
  answer[#answer + 1] = ends and tonumber(ends) > now and '1' or '0'
end
return answer
