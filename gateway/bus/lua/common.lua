-- What the scripts share. It is put in front of each of them.
--
-- All keys begin with the prefix, which is a hash tag, so that they live in one slot of a cluster:
--   <prefix>:limit:<counter>   hash  one limit in one window; <counter> is "<key of the limit>@<start of the window>"
--       out       taken out of the ceiling: the leases of living nodes and what others had spent
--       used      of that, what was spent, as far as nodes have told
--       held      of that, what requests under way reserve
--       lost      of used, what Redis had forgotten and no node has accounted for yet
--       recall    when unspent slices were last called back, milliseconds
--       quiet     until then they are not called back again, unless something was lent since
--       g:<node> s:<node> h:<node>   leased to a node in this window, of it spent, of it reserved
--   <prefix>:nodes             zset  node -> when its leases end unless it is heard of, milliseconds
--   <prefix>:node:<node>       string  the number of the node's last call
--   <prefix>:accounts:<node>   zset  the counters in which the node has an account, by when they may be forgotten
--   <prefix>:dead:<node>       hash  counter -> spent, of a node whose accounts were closed for it; "" marks it
--   <prefix>:recalls           zset  counter -> when it was recalled
--   <prefix>:clock             hash  heard: the last call of any node; patience: until then no node counts as dead;
--                                    recovering: until then nothing is lent after memory was lost
--   <prefix>:charge:<id>       string  a charge that was made
-- All numbers are integers below 2^53, which a double holds exactly; times are Unix milliseconds.

local FORGET_DEAD = 7 * 86400 * 1000

local function num(value)
  return tonumber(value or 0) or 0
end

local function whole(number)
  return string.format('%.0f', number)
end

local function time_of(given)
  if given >= 0 then
    return given
  end
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- A window's count outlives it by the grace, one that slides by another window; slots and totals end with their use.
local function ending(kind, resets, length, grace)
  if resets == 0 then
    return math.huge
  end
  return resets + grace + (kind == 's' and length or 0)
end

local function keep_until(key, now, ends)
  if ends < math.huge then
    redis.call('PEXPIRE', key, whole(math.max(1, ends - now)))
  end
end

-- Ends a node's account in one counter: what it had not spent returns, what it had spent stays.
local function close_account(prefix, counter, node, dead)
  local key = prefix .. ':limit:' .. counter
  local v = redis.call('HMGET', key, 'g:' .. node, 's:' .. node, 'h:' .. node, 'out', 'used', 'held')
  if v[1] then
    local out, used, held = num(v[4]) - num(v[1]) + num(v[2]), num(v[5]), num(v[6]) - num(v[3])
    if out == 0 and used == 0 then
      redis.call('DEL', key)
    else
      redis.call('HDEL', key, 'g:' .. node, 's:' .. node, 'h:' .. node)
      redis.call('HSET', key, 'out', whole(out), 'held', whole(held))
    end
    redis.call('HSET', dead, counter, whole(num(v[2])))
  end
end

-- Closes up to `most` accounts of a dead node; true once there is none left.
local function bury(prefix, node, most)
  local accounts, dead = prefix .. ':accounts:' .. node, prefix .. ':dead:' .. node
  redis.call('DEL', prefix .. ':node:' .. node)
  redis.call('HSET', dead, '', 1)
  redis.call('PEXPIRE', dead, whole(FORGET_DEAD))
  local popped = redis.call('ZPOPMIN', accounts, most)
  for i = 1, #popped, 2 do
    close_account(prefix, popped[i], node, dead)
  end
  if redis.call('ZCARD', accounts) > 0 then
    return false
  end
  redis.call('ZREM', prefix .. ':nodes', node)
  return true
end
