-- wrk's side of a benchmark whose requests differ: the lines of a file are posted in turn, again from the first one.
-- Arguments: the file with a body in each line, then header names and values in turn.

local bodies, at = {}, 0

function init(args)
   for line in io.lines(args[1]) do
      bodies[#bodies + 1] = line
   end
   wrk.headers["Content-Type"] = "application/json"
   for index = 2, #args, 2 do
      wrk.headers[args[index]] = args[index + 1]
   end
end

function request()
   at = at % #bodies + 1
   return wrk.format("POST", nil, nil, bodies[at])
end

function done(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format(
      '\nWRK {"requests": %d, "duration_us": %d, "bytes": %d, "p50_us": %d, "p99_us": %d, "connect": %d, "read": %d, '
         .. '"write": %d, "status": %d, "timeout": %d}\n',
      summary.requests, summary.duration, summary.bytes, latency:percentile(50), latency:percentile(99),
      errors.connect, errors.read, errors.write, errors.status, errors.timeout
   ))
end
