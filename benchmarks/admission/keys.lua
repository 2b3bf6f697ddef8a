-- A POST with another made-up key each time, which must be answered with 401 or 503. Arguments: the file with the body.

local random = math.random
local letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

function init(args)
   local file = assert(io.open(args[1], "rb"))
   wrk.method = "POST"
   wrk.body = file:read("*a")
   file:close()
   wrk.headers["Content-Type"] = "application/json"
   math.randomseed(os.time())
end

function request()
   local key = {}
   for index = 1, 51 do
      local at = random(#letters)
      key[index] = letters:sub(at, at)
   end
   wrk.headers["Authorization"] = "Bearer gw_live_" .. table.concat(key)
   return wrk.format()
end

function done(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format(
      '\nWRK {"requests": %d, "duration_us": %d, "bytes": %d, "p50_us": %d, "p99_us": %d, "connect": %d, "read": %d, '
         .. '"write": %d, "status": %d, "timeout": %d}\n',
      summary.requests, summary.duration, summary.bytes, latency:percentile(50), latency:percentile(99),
      errors.connect, errors.read, errors.write, summary.requests - errors.status, errors.timeout
   ))
end
