-- Ends a node that is known to be gone: at once its unspent leases and its slots are free, and what it had spent in
-- truth is counted. KEYS[i] is the counter of spend i.
-- ARGV[1]: JSON object prefix, node, now (-1: the clock of Redis), grace, spends: [[counter, kind, resets, length,
--   spent]]. Answers 1 once every account is closed, 0 if there are more: call again.

local call = cjson.decode(ARGV[1])
local now, dead = time_of(call.now), call.prefix .. ':dead:' .. call.node
if not bury(call.prefix, call.node, 500) then
  return 0
end
for i, spend in ipairs(call.spends) do
  local counter, kind, resets, length, spent = spend[1], spend[2], spend[3], spend[4], spend[5]
  local known = num(redis.call('HGET', dead, counter))
  local ends = ending(kind, resets, length, call.grace)
  if spent > known and now < ends then
    local v = redis.call('HMGET', KEYS[i], 'out', 'used', 'lost')
    local explained = math.min(num(v[3]), spent - known)
    local more = spent - known - explained
    redis.call('HSET', dead, counter, whole(spent))
    redis.call('HSET', KEYS[i], 'out', whole(num(v[1]) + more), 'used', whole(num(v[2]) + more),
      'lost', whole(num(v[3]) - explained))
    keep_until(KEYS[i], now, ends)
  end
end
return 1
