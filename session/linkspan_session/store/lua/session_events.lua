-- Read the events of a stream above a number. ARGV: layout, the stream's id, the number.
-- Answers: gone, newer, ok and the number of the first event, then the events.
local refusal = unreadable(redis.call('HGET', record, 'layout'))
if refusal then return refusal end
local text = redis.call('HGET', KEYS[2], 'd' .. ARGV[2])
if not text then return {'gone'} end
local state = parse_state(text)
local first = math.max(state.first, tonumber(ARGV[3]) + 1)
local answer = {'ok', first}
for from = first, state.last, 1000 do
  local names = {}
  for sequence = from, math.min(from + 999, state.last) do
    names[#names + 1] = event_field(ARGV[2], sequence)
  end
  for _, message in ipairs(redis.call('HMGET', KEYS[3], unpack(names))) do
    answer[#answer + 1] = message
  end
end
return answer
