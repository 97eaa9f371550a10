-- wrk's script: a POST of the file named first, with the headers that follow, and one line of JSON at the end.

function init(arguments)
   local file = assert(io.open(arguments[1], "rb"))
   wrk.method = "POST"
   wrk.body = file:read("*a")
   file:close()
   for number = 2, #arguments do
      local name, value = arguments[number]:match("^([^:]+): (.*)$")
      wrk.headers[name] = value
   end
end

function done(summary, latency)
   local errors = summary.errors
   print(string.format(
      'summary {"requests": %d, "duration_us": %d, "p50_us": %d, "p99_us": %d, "wrong": %d, "broken": %d, "late": %d}',
      summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
      errors.status, errors.connect + errors.read + errors.write, errors.timeout))
end
