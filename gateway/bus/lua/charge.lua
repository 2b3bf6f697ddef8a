-- Counts an amount as spent, once for each id. KEYS[1] is the counter.
-- ARGV: prefix, id, amount, now (-1: the clock of Redis), kind, resets, length, grace.
-- Answers 1 if it was counted now, 0 if it had been or if its window is long over.

local prefix, now = ARGV[1], time_of(tonumber(ARGV[4]))
local ends = ending(ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]))
if now >= ends then
  return 0
end
if not redis.call('SET', prefix .. ':charge:' .. ARGV[2], 1, 'NX', 'PX', whole(FORGET_DEAD)) then
  return 0
end
redis.call('HINCRBY', KEYS[1], 'used', ARGV[3])
redis.call('HINCRBY', KEYS[1], 'out', ARGV[3])
keep_until(KEYS[1], now, ends)
return 1
