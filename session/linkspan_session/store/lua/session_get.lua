-- Read a record. Answers: gone, newer, ok and the record.
local layout = redis.call('HGET', record, 'layout')
return unreadable(layout) or answer_with_record('ok')
