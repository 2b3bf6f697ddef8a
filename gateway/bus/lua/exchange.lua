-- One node's turn: it tells what it holds, and asks for more. KEYS[i] is the counter of claim i.
-- ARGV[1]: JSON object prefix, node, now (-1: the clock of Redis), seq, acked, since, leave, expiry, grace, divisor,
--   recall_every, recovery, claims, groups. See gateway/contract/leases.py for claims and groups.
-- Answers JSON, one text instead of many small replies: ["stale"], ["forgotten", now], or ["ok", now, recalled, leased per
--   claim, a verdict per group]; a verdict is [0 or the place of the first want that was not met or -1 while recovering,
--   [granted, free, used, unspent elsewhere] per want, [counter, node that holds some of it ...] per counter it is worth
--   waiting for, those recalled only now].

local call = cjson.decode(ARGV[1])
local prefix, node, now = call.prefix, call.node, time_of(call.now)
local nodes, me = prefix .. ':nodes', prefix .. ':node:' .. node
local dead, accounts = prefix .. ':dead:' .. node, prefix .. ':accounts:' .. node
local clock = prefix .. ':clock'
local G, S, H = 'g:' .. node, 's:' .. node, 'h:' .. node

-- cjson writes numbers with 14 digits, and an empty list as an object.
local function list(parts)
  return '[' .. table.concat(parts, ',') .. ']'
end

local function numbers(values)
  local parts = {}
  for i, value in ipairs(values) do
    parts[i] = whole(value)
  end
  return list(parts)
end

local function strings(values)
  return #values > 0 and cjson.encode(values) or '[]'
end

-- A call that was overtaken by a later one of the same node does nothing.
local known = num(redis.call('GET', me))
if call.seq <= known then
  return '["stale"]'
end

local marks = redis.call('HMGET', clock, 'heard', 'patience', 'recovering')
local heard, patience, recovering = num(marks[1]), num(marks[2]), num(marks[3])
if now - heard > call.expiry / 2 then
  -- Nobody was heard: Redis itself was away. Nobody counts as dead before all had time to come back.
  patience = now + call.expiry
end
local forgotten = known < call.acked
if forgotten and redis.call('EXISTS', dead) == 0 and now > recovering + 60000 then
  -- Memory was lost. First all nodes tell what they know, then something may be lent again.
  recovering = now + call.recovery
end
redis.call('HSET', clock, 'heard', whole(now), 'patience', whole(patience), 'recovering', whole(recovering))
redis.call('ZADD', nodes, whole(now + call.expiry), node)
redis.call('SET', me, whole(call.seq))
if forgotten then
  return '["forgotten",' .. whole(now) .. ']'
end

if now >= patience then
  for _, other in ipairs(redis.call('ZRANGEBYSCORE', nodes, '-inf', whole(now), 'LIMIT', 0, 2)) do
    if not bury(prefix, other, 200) then
      break
    end
  end
end

local function store(t)
  if t.out == 0 and t.used == 0 and t.lost == 0 then
    redis.call('DEL', t.key)
    redis.call('ZREM', accounts, t.counter)
    return
  end
  if t.closed then
    redis.call('HDEL', t.key, G, S, H)
    redis.call('ZREM', accounts, t.counter)
    redis.call('HSET', t.key, 'out', whole(t.out), 'used', whole(t.used), 'held', whole(t.held), 'lost', whole(t.lost))
  else
    redis.call('HSET', t.key, 'out', whole(t.out), 'used', whole(t.used), 'held', whole(t.held),
      'lost', whole(t.lost), G, whole(t.g), S, whole(t.s), H, whole(t.h))
    if not t.open then
      redis.call('ZADD', accounts, t.ends == math.huge and '+inf' or whole(t.ends), t.counter)
    end
  end
  if not t.counted then
    keep_until(t.key, now, t.ends)
  end
end

-- The node's own words replace what was known of its account. It can lower its lease; only spending can raise it.
local function told(t, claim)
  local granted, spent, held = claim[6], claim[7], claim[8]
  local before_g, before_s = t.g, t.s
  t.changed = not t.open or granted ~= t.g or spent ~= t.s or held ~= t.h or claim[11] or claim[10]
  t.g = math.max(math.min(granted, t.g), spent + held)
  t.out = t.out + t.g - before_g
  t.used = t.used + spent - before_s
  t.held = t.held + held - t.h
  t.s, t.h = spent, held
  if claim[11] then
    local explained = math.min(t.lost, math.max(0, spent - before_s))
    local missing = math.max(0, claim[12] - (t.used - explained))
    t.lost = t.lost - explained + missing
    t.used = t.used - explained + missing
    t.out = t.out - explained + missing
  end
  if claim[10] then
    t.out = t.out - t.g + t.s
    t.held = t.held - t.h
    t.g, t.h, t.closed = t.s, 0, true
  end
end

local function previous_of(t)
  if t.kind ~= 's' then
    return 0, 0
  end
  local share = math.max(0, math.min(1, (t.resets - now) / t.length))
  local v = redis.call('HMGET', prefix .. ':limit:' .. t.previous, 'out', 'used')
  return math.ceil(num(v[1]) * share), math.ceil(num(v[2]) * share)
end

local function opened(i, claim)
  local t = {key = KEYS[i], counter = claim[1], kind = claim[2], resets = claim[3], length = claim[4],
    previous = claim[5], ends = ending(claim[2], claim[3], claim[4], call.grace)}
  local v = redis.call('HMGET', t.key, 'out', 'used', 'held', 'lost', 'recall', G, S, H, 'quiet')
  t.out, t.used, t.held, t.lost, t.recall = num(v[1]), num(v[2]), num(v[3]), num(v[4]), num(v[5])
  t.g, t.s, t.h, t.open = num(v[6]), num(v[7]), num(v[8]), v[6]
  t.quiet, t.counted = num(v[9]), v[1]
  if not t.open and not claim[10] then
    -- Of an account that was closed as if the node were dead, the spending still counts.
    local spent = redis.call('HGET', dead, t.counter)
    if spent then
      redis.call('HDEL', dead, t.counter)
      if v[1] then
        t.g, t.s = num(spent), num(spent)
      end
    end
  end
  return t
end

local tallies, leased, answered = {}, {}, {}
for i, claim in ipairs(call.claims) do
  local t = opened(i, claim)
  if now >= t.ends or (claim[10] and not t.open) then
    leased[i] = claim[7] + claim[8]  -- long over, or closed before
  else
    told(t, claim)
    if t.closed then
      store(t)  -- at once: the same counter may be opened anew in this call
      t.changed = false
    end
    leased[i] = t.g
    t.room = t.g - t.s - t.h
    t.before, t.before_used = previous_of(t)
    tallies[i] = t
  end
  if claim[9] then
    answered[#answered + 1] = claim[1]
  end
end
if #answered > 0 then
  table.insert(answered, 1, node)
  redis.call('PUBLISH', 'gateway:told', cjson.encode(answered))
end

local function elsewhere(t)
  return math.max(0, (t.out - t.used - t.held) - (t.g - t.s - t.h))
end

-- The first want that can't be met, and whether what others hold could meet it.
local function shortage(group)
  local taken, first, hope = {}, 0, true
  for place, want in ipairs(group) do
    local t = tallies[want[1]]
    if not t then
      return place, false
    end
    taken[t] = (taken[t] or 0) + want[3]
    local need = taken[t] - t.room
    local free = want[2] - t.out - t.before
    if need > 0 and need > free then
      if first == 0 then
        first = place
      end
      local others = (t.out - t.used) - (t.g - t.s) + (t.before - t.before_used)
      hope = hope and need <= free + others
    end
  end
  return first, hope
end

local function grant(t, want)
  local need = math.max(0, want[3] - t.room)
  if need == 0 then
    t.room = t.room - want[3]
    return 0
  end
  local free = want[2] - t.out - t.before
  local slice = math.min(want[4], math.floor(free / call.divisor))
  if now - t.recall < 1000 then
    slice = 0  -- it is scarce: a slice would only be called back
  end
  local given = math.max(need, slice)
  t.out, t.g, t.room = t.out + given, t.g + given, t.room + given - want[3]
  t.changed = true
  if t.quiet > now then
    t.quiet = 0  -- from now on there is someone else to ask
    redis.call('HDEL', t.key, 'quiet')
  end
  return given
end

local function holders_of(counter)
  local fields = redis.call('HGETALL', prefix .. ':limit:' .. counter)
  local g, s, found = {}, {}, {}
  for i = 1, #fields, 2 do
    local mark, name = string.sub(fields[i], 1, 2), string.sub(fields[i], 3)
    if mark == 'g:' then
      g[name] = num(fields[i + 1])
    elseif mark == 's:' then
      s[name] = num(fields[i + 1])
    end
  end
  for name, granted in pairs(g) do
    if name ~= node and granted > (s[name] or 0) then
      found[#found + 1] = name
    end
  end
  return found
end

local recalled = {}

-- Calls back what others hold of the counters that a group lacks. Gives the counters with their holders, and those that
-- were called back only now; a short while after, asking again would only make noise.
local function recall(group)
  local waiting, fresh = {}, {}
  for _, want in ipairs(group) do
    local t = tallies[want[1]]
    if want[3] > t.room and want[3] - t.room > want[2] - t.out - t.before then
      local anew = now >= t.quiet
      if anew then
        t.recall, t.quiet = now, now + call.recall_every
        redis.call('HSET', t.key, 'recall', whole(now), 'quiet', whole(t.quiet))
        keep_until(t.key, now, t.ends)
      end
      for _, counter in ipairs(t.kind == 's' and {t.counter, t.previous} or {t.counter}) do
        local holders = holders_of(counter)
        if #holders > 0 then
          table.insert(holders, 1, counter)
          waiting[#waiting + 1] = strings(holders)
          if anew then
            recalled[#recalled + 1] = counter
            fresh[#fresh + 1] = counter
          end
        end
      end
    end
  end
  return waiting, fresh
end

local verdicts = {}
for i, group in ipairs(call.groups) do
  local wants, waiting, fresh, short, hope = {}, {}, {}, -1, false
  if now >= recovering then
    short, hope = shortage(group)
  end
  for place, want in ipairs(group) do
    local t = tallies[want[1]]
    if t then
      local given = short == 0 and grant(t, want) or 0
      wants[place] = numbers({given, math.max(0, want[2] - t.out - t.before), t.used, elsewhere(t)})
      leased[want[1]] = t.g
    else
      wants[place] = '[0,0,0,0]'
    end
  end
  if short > 0 and hope then
    waiting, fresh = recall(group)
  end
  verdicts[i] = '[' .. short .. ',' .. list(wants) .. ',' .. list(waiting) .. ',' .. strings(fresh) .. ']'
end
for i, t in pairs(tallies) do
  if t.changed then
    store(t)
  end
end

local recalls = prefix .. ':recalls'
if #recalled > 0 then
  for _, counter in ipairs(recalled) do
    redis.call('ZADD', recalls, whole(now), counter)
  end
  table.insert(recalled, 1, node)
  redis.call('PUBLISH', 'gateway:recall', cjson.encode(recalled))
end
redis.call('ZREMRANGEBYSCORE', recalls, '-inf', whole(now - call.expiry))
redis.call('ZREMRANGEBYSCORE', accounts, '-inf', whole(now))
local missed = redis.call('ZRANGEBYSCORE', recalls, whole(call.since), '+inf', 'LIMIT', 0, 1000)
if call.leave then
  bury(prefix, node, 100000)
  redis.call('DEL', dead)
end
return '["ok",' .. whole(now) .. ',' .. strings(missed) .. ',' .. numbers(leased) .. ',' .. list(verdicts) .. ']'
