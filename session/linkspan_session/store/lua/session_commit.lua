-- Write an owner's changes, all or none.
-- ARGV: layout, token, owner, epoch, tokens of writes to void, bytes of events to keep, finished
-- streams to keep, milliseconds that all stays beyond its time, and that a record stays beyond
-- that, how the session ends or '', '1' to release it; then lists, each after its length: fields
-- of the record; streams (id, state, rest); events (stream, number, message, '1' for the last);
-- storage to set (key, value); storage to delete.
-- Answers: gone, newer, refused, astray and the first event that does not follow its stream, ok and
-- the version and the entry in the indexes.
local streams, events, finished, requests, storage =
  KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local token, max_bytes, max_finished = ARGV[2], tonumber(ARGV[6]), tonumber(ARGV[7])
local grace, keep, closed = tonumber(ARGV[8]), tonumber(ARGV[9]), ARGV[10]

local head = redis.call('HMGET', record, 'layout', 'attempts', 'owner', 'epoch', 'closed',
  'version', 'void', 'log_bytes', 'storage_bytes', 'entry')
local refusal = unreadable(head[1])
if refusal then return refusal end
local attempts, void = head[2], head[7] or ''
local done = version_of_attempt(attempts, token)
if done then return {'ok', tonumber(done), head[10]} end
if ARGV[3] == '' or head[3] ~= ARGV[3] or tonumber(head[4]) ~= tonumber(ARGV[4]) or head[5] ~= ''
  or string.find(void, token, 1, true) then
  return {'refused'}
end
-- What the caller gave up was done after all: it does not know what is on record, and must not go on.
for given_up in string.gmatch(ARGV[5], '%x+') do
  if version_of_attempt(attempts, given_up) then return {'refused'} end
end

local at = 12
local function take(width)
  local items = {}
  local count = tonumber(ARGV[at])
  at = at + 1
  for _ = 1, count do
    items[#items + 1] = {unpack(ARGV, at, at + width - 1)}
    at = at + width
  end
  return items
end
local function flat(items)
  local words = {}
  for _, item in ipairs(items) do
    for _, word in ipairs(item) do words[#words + 1] = word end
  end
  return words
end
local fields, added, written, stored, deleted = take(2), take(3), take(4), take(2), take(1)
if closed ~= '' then added, written, stored, deleted = {}, {}, {}, {} end

-- All that can be refused is refused before the first write.
local states = {}
for _, stream in ipairs(added) do
  local id, text = stream[1], redis.call('HGET', streams, 'd' .. stream[1])
  if text then
    states[id] = parse_state(text)
  elseif not states[id] then
    states[id] = parse_state(stream[2])
    states[id].rest = stream[3]
  end
end
local newest, ended = {}, {}
for _, event in ipairs(written) do
  local id = event[1]
  if not states[id] then
    local text = redis.call('HGET', streams, 'd' .. id)
    if not text then return {'astray', id, event[2]} end
    states[id] = parse_state(text)
  end
  local sequence = tonumber(event[2])
  if ended[id] or states[id].finished or sequence ~= (newest[id] or states[id].last) + 1 then
    return {'astray', id, event[2]}
  end
  newest[id] = sequence
  ended[id] = event[4] == '1'
end

-- The record comes first: a server that may not write, or has no memory left, fails here.
local version = tonumber(head[6]) + 1
local words = flat(fields)
for _, word in ipairs({'layout', ARGV[1], 'version', version,
  'attempts', remember(attempts, token, version)}) do
  words[#words + 1] = word
end
if ARGV[5] ~= '' then
  words[#words + 1] = 'void'
  words[#words + 1] = string.sub(ARGV[5] .. ' ' .. void, 1, MAX_VOID_BYTES)
end
if closed ~= '' then
  for _, word in ipairs({'closed', closed, 'owner', '', 'epoch', tonumber(head[4]) + 1,
    'log_bytes', 0, 'storage_bytes', 0}) do
    words[#words + 1] = word
  end
elseif ARGV[11] == '1' then
  words[#words + 1] = 'owner'
  words[#words + 1] = ''
end
redis.call('HSET', record, unpack(words))

local total = tonumber(head[8] or 0)

local function drop_events(id, state)
  local names = {}
  for sequence = state.first, state.last do names[#names + 1] = event_field(id, sequence) end
  call_in_parts('HDEL', events, names)
  total = total - state.bytes
end

local function drop_stream(id)
  local state = parse_state(redis.call('HGET', streams, 'd' .. id))
  drop_events(id, state)
  redis.call('HDEL', streams, 'd' .. id, 's' .. id, 'e' .. id)
  redis.call('ZREM', finished, id)
  if state.request ~= '' and redis.call('HGET', requests, state.request) == id then
    redis.call('HDEL', requests, state.request)
  end
end

-- Drop the oldest events of a stream until `total` is small enough, or what it has left is: but for
-- the newest.
local function drop_oldest(id, share)
  local state = states[id]
  while total > max_bytes and state.bytes > share and state.first < state.last do
    local name = event_field(id, state.first)
    local size = redis.call('HSTRLEN', events, name)
    redis.call('HDEL', events, name)
    state.first = state.first + 1
    state.bytes = state.bytes - size
    total = total - size
  end
end

-- Open streams that only earlier owners have written to, by age.
local function left_behind()
  local found, epochs = {}, {}
  local all = redis.call('HGETALL', streams)
  for each = 1, #all, 2 do
    local kind, id = string.sub(all[each], 1, 1), string.sub(all[each], 2)
    if kind == 'e' then epochs[id] = tonumber(all[each + 1]) end
    if kind == 'd' and not newest[id] then
      local state = parse_state(all[each + 1])
      if not state.finished and state.bytes > 0 then found[#found + 1] = {id, state} end
    end
  end
  local stale = {}
  for _, each in ipairs(found) do
    if (epochs[each[1]] or 0) < tonumber(ARGV[4]) then stale[#stale + 1] = each end
  end
  table.sort(stale, function(one, other)
    local created, others = tonumber(one[2].created), tonumber(other[2].created)
    return created < others or created == others and one[1] < other[1]
  end)
  return stale
end

local function oldest_finished_unwritten()
  for _, id in ipairs(redis.call('ZRANGE', finished, 0, #added + #written)) do
    if not newest[id] then return id end
  end
end

local function newest_of_request(id, state)
  local other = redis.call('HGET', requests, state.request)
  local text = other and redis.call('HGET', streams, 'd' .. other)
  if not text then return true end
  local created, others = tonumber(state.created), tonumber(parse_state(text).created)
  return created > others or created == others and id > other
end

local changed_streams = {}
for _, stream in ipairs(added) do
  local id = stream[1]
  local state = states[id]
  if state.rest then
    changed_streams[#changed_streams + 1] = 's' .. id
    changed_streams[#changed_streams + 1] = state.rest
    newest[id] = newest[id] or state.last
    if state.request ~= '' and newest_of_request(id, state) then
      redis.call('HSET', requests, state.request, id)
    end
    if state.finished then redis.call('ZADD', finished, state.created, id) end
    state.rest = nil
  end
end
for _, event in ipairs(written) do
  local id, message = event[1], event[3]
  local state = states[id]
  redis.call('HSET', events, event_field(id, event[2]), message)
  state.last = tonumber(event[2])
  state.bytes = state.bytes + #message
  total = total + #message
  if event[4] == '1' then
    state.finished = true
    redis.call('ZADD', finished, state.created, id)
  end
end

-- Make room: first the oldest events of what was written to just now go, down to half of what is
-- kept; then the oldest finished streams, but none of these; then what earlier owners left behind;
-- then the oldest events of what was written to, of which the newest stays.
for _, event in ipairs(written) do drop_oldest(event[1], math.floor(max_bytes / 2)) end
while total > max_bytes or redis.call('ZCARD', finished) > max_finished do
  local oldest = oldest_finished_unwritten()
  if not oldest then break end
  drop_stream(oldest)
end
if total > max_bytes then
  for _, each in ipairs(left_behind()) do
    local id, state = each[1], each[2]
    drop_events(id, state)
    state.first, state.bytes = state.last + 1, 0
    redis.call('HSET', streams, 'd' .. id, state_text(state))
    if total <= max_bytes then break end
  end
end
for _, event in ipairs(written) do drop_oldest(event[1], -1) end
for id in pairs(newest) do
  changed_streams[#changed_streams + 1] = 'd' .. id
  changed_streams[#changed_streams + 1] = state_text(states[id])
end
for _, event in ipairs(written) do
  changed_streams[#changed_streams + 1] = 'e' .. event[1]
  changed_streams[#changed_streams + 1] = ARGV[4]
end
call_in_parts('HSET', streams, changed_streams)
if total ~= tonumber(head[8] or 0) then redis.call('HSET', record, 'log_bytes', total) end

if #stored + #deleted > 0 then
  local size = tonumber(head[9] or 0)
  for _, entry in ipairs(stored) do
    size = size - redis.call('HSTRLEN', storage, entry[1]) + #entry[2]
    redis.call('HSET', storage, entry[1], entry[2])
  end
  for _, entry in ipairs(deleted) do
    size = size - redis.call('HSTRLEN', storage, entry[1])
    redis.call('HDEL', storage, entry[1])
  end
  redis.call('HSET', record, 'storage_bytes', size)
end

-- How long things stay counts from the owner's last use, not from this server's clock.
local times = redis.call('HMGET', record, 'active', 'expires')
local left = math.max(tonumber(times[2]) - tonumber(times[1]), 0) + grace
if closed ~= '' then
  redis.call('UNLINK', streams, events, finished, requests, storage)
  redis.call('PEXPIRE', record, left)
elseif #fields + #added + #written + #stored > 0 then
  keep_key(record, left + keep)
  for each = 2, 6 do keep_key(KEYS[each], left) end
end
return {'ok', version, head[10]}
