-- What the scripts of a session share; it is put before each of them.
--
-- KEYS, all of one slot: the record, streams, events, finished streams, requests, storage.
-- ARGV[1] is the newest layout of records that the caller knows. Answers begin with a word.
--
-- A record is a hash. `attempts` names the last writes, each as `token:version `, newest first, so
-- that a write whose answer was lost can be sent again: it is then done once. `void` names writes
-- that were given up without an answer, which must not be done any more should they arrive late.

local record = KEYS[1]
local REMEMBERED = 8
local MAX_VOID_BYTES = 1088

-- Answers that end a script: no such record, or one of a newer layout.
local function unreadable(layout)
  if not layout then return {'gone'} end
  if tonumber(layout) > tonumber(ARGV[1]) then return {'newer'} end
end

local function version_of_attempt(attempts, token)
  return string.match(attempts or '', token .. ':(%d+) ')
end

local function remember(attempts, token, version)
  local all = token .. ':' .. version .. ' ' .. (attempts or '')
  return string.match(all, '^' .. string.rep('[^ ]+ ', REMEMBERED)) or all
end

-- Call a command with any number of words; they go in parts, since Lua's stack is bounded.
local function call_in_parts(command, key, words)
  for from = 1, #words, 1000 do
    redis.call(command, key, unpack(words, from, math.min(from + 999, #words)))
  end
end

-- Have a key stay so many milliseconds at least; it is given a quarter more, so that most writes
-- need not do this.
local function keep_key(key, milliseconds)
  local left = redis.call('PTTL', key)
  if left ~= -2 and left < milliseconds then
    redis.call('PEXPIRE', key, math.ceil(milliseconds * 1.25))
  end
end

local function answer_with_record(word)
  local answer = redis.call('HGETALL', record)
  table.insert(answer, 1, word)
  return answer
end

-- A stream's state is one text, in the field `d` and its id: first and last number, whether
-- finished, bytes, creation, request key. Beside it are `s`, what no script looks into, and `e`, the
-- epoch of the owner that wrote an event last.
local function parse_state(text)
  local first, last, finished, bytes, created, request =
    string.match(text, '^(%d+) (%d+) ([01]) (%d+) (%-?%d+) (.*)$')
  return {
    first = tonumber(first), last = tonumber(last), finished = finished == '1',
    bytes = tonumber(bytes), created = created, request = request,
  }
end

local function state_text(state)
  return string.format('%d %d %d %d %s %s', state.first, state.last,
    state.finished and 1 or 0, state.bytes, state.created, state.request)
end

local function event_field(stream, sequence)
  return stream .. '\0' .. string.format('%d', sequence)
end
