"""The script that Redis runs: every meter in Lua, and all of a request's in one atomic step.

It gives for each key `remaining reset retry_after over carried`, with -1 for never. Time is the
server's own, so that the clocks of the workers do not matter. A state is up to three numbers with
a space between, written with the 17 digits that a double needs to come back as it was.

`ARGV` holds the cost, whether it is forced, a moment that a test puts in the clock's place, and
then seven values for each key: what `Meter.script` says.
"""

from __future__ import annotations

from hashlib import sha1

# Seconds are counted from the start of 2025, for a double then holds a hundredth of a microsecond.
SCRIPT = """
local cost, forced, now = tonumber(ARGV[1]), ARGV[2] == '1', tonumber(ARGV[3])
-- The server's own clock ends a key's life; it knows nothing of one that a test sets.
local longer = now and 3600 or 0
if not now then
  local time = redis.call('TIME')
  now = time[1] - 1735689600 + time[2] / 1000000
end

local function ceil_ms(seconds)
  return math.max(1, math.ceil((seconds + longer) * 1000))
end

-- Each gives: its new state or nil, seconds to keep it, remaining, reset, retry, over, carried.

local function bucket(state, cost, forced, burst, interval, tolerance)
  local full = now
  if state[1] and state[1] > now and state[1] - now <= 3 * tolerance then full = state[1] end
  local later, retry = full + cost * interval, 0
  if later - now <= tolerance + interval * 1e-6 then
    full = later
  elseif forced then
    full = math.min(later, now + 2 * tolerance)
  elseif cost <= burst then
    retry = later - now - tolerance
  else
    retry = -1
  end
  local room = tolerance - (full - now)
  if room >= tolerance then return nil, 0, burst, 0, retry, 0, 0 end
  local remaining = math.max(0, math.floor(room / interval + 1e-6))
  return {full}, full - now, remaining, (remaining + 1) * interval - room, retry, 0, 0
end

local function fixed(state, cost, forced, quota, seconds)
  local start, count, retry = now, 0, 0
  if state[2] and state[2] > 0 and state[1] <= now and now < state[1] + seconds then
    start, count = state[1], state[2]
  end
  local left = start + seconds - now
  if forced or count + cost <= quota then
    count = math.max(0, count + cost)
  elseif cost <= quota then
    retry = left
  else
    retry = -1
  end
  local remaining = math.max(0, quota - count)
  if count == 0 then return nil, 0, remaining, 0, retry, 0, 0 end
  return {start, count}, left, remaining, left, retry, 0, 0
end

local function wait(before, count, view, most, seconds)
  local room = most + 1 - count
  if room > 0 then
    if before == 0 then return 0 end
    return math.max(0, view - room * seconds / before) + seconds * 1e-9
  end
  return view + math.max(0, seconds - (most + 1) * seconds / count) + seconds * 1e-9
end

local function sliding(state, cost, forced, quota, seconds)
  local index, before, count, retry = math.floor(now / seconds), 0, 0, 0
  if state[1] == index then
    count, before = state[2], state[3]
  elseif state[1] == index - 1 then
    before = state[2]
  end
  local view = (1 - now / seconds % 1) * seconds
  local used = math.floor(before * view / seconds + count)
  if forced or used + cost <= quota then
    count = math.max(0, count + cost)
    used = math.floor(before * view / seconds + count)
  elseif cost <= quota then
    retry = wait(before, count, view, quota - cost, seconds)
  else
    retry = -1
  end
  local remaining, reset = math.max(0, quota - used), 0
  if remaining < quota then reset = wait(before, count, view, quota - remaining - 1, seconds) end
  if count == 0 and before == 0 then return nil, 0, remaining, reset, retry, 0, 0 end
  local keep = count == 0 and view or view + seconds
  return {index, count, before}, keep, remaining, reset, retry, 0, 0
end

local function calendar(state, cost, forced, quota, start, left, previous, keep, grace)
  local count, carried, retry = 0, 0, 0
  if state[1] == start then
    count, carried = state[2], state[3]
  elseif previous >= 0 and state[1] == previous then
    carried = math.max(0, math.min(quota, quota + state[3] - state[2]))
  elseif previous >= 0 and state[1] and state[1] < previous then
    carried = quota
  end
  local whole = quota + carried
  if forced or grace < 0 or count + cost <= whole + grace then
    count = math.max(0, count + cost)
  elseif cost <= whole + grace then
    retry = left
  else
    retry = -1
  end
  local remaining, over = math.max(0, whole - count), math.max(0, count - whole)
  local reset = count > 0 and left or 0
  return {start, count, carried}, keep, math.floor(remaining), reset, retry, over, carried
end

local meters = {g = bucket, f = fixed, s = sliding, c = calendar}

local function run(position, state, cost, forced)
  local at = 3 + (position - 1) * 7
  local numbers = {}
  for offset = 2, 7 do numbers[offset - 1] = tonumber(ARGV[at + offset]) end
  return meters[ARGV[at + 1]](state, cost, forced, unpack(numbers))
end

local states, taken, admitted = {}, {}, true
for position, key in ipairs(KEYS) do
  local state = {}
  for number in string.gmatch(redis.call('GET', key) or '', '%S+') do
    state[#state + 1] = tonumber(number)
  end
  states[position] = state
  taken[position] = {run(position, state, cost, forced)}
  if taken[position][5] ~= 0 then admitted = false end
end

local answer = {}
for position, key in ipairs(KEYS) do
  local one = taken[position]
  if admitted and cost ~= 0 then
    if one[1] then
      local words = {}
      for place, number in ipairs(one[1]) do words[place] = string.format('%.17g', number) end
      redis.call('SET', key, table.concat(words, ' '), 'PX', ceil_ms(one[2]))
    else
      redis.call('DEL', key)
    end
  elseif not admitted and one[5] == 0 then
    one = {run(position, states[position], 0, false)}
  end
  answer[position] = string.format(
    '%d %.9g %.9g %d %d', one[3], one[4], one[5], one[6], one[7]
  )
end
return answer
"""

DIGEST = sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()
