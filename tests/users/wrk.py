"""wrk, the HTTP benchmark, as a source of load whose every answer is compared."""

import re
import subprocess

from users import requirements

SCRIPT = """
local threads = {}

function setup(thread)
   table.insert(threads, thread)
end

function init(arguments)
   local file = assert(io.open(arguments[1], "rb"))
   expected = file:read("*a")
   file:close()
   wrong = 0
end

function response(status, headers, body)
   if status ~= 200 or body ~= expected then
      wrong = wrong + 1
   end
end

function done(summary, latency, requests)
   local wrong = 0
   for _, thread in ipairs(threads) do
      wrong = wrong + thread:get("wrong")
   end
   local errors = summary.errors
   io.write(string.format("answers=%d wrong=%d connect=%d read=%d write=%d timeout=%d\\n",
      summary.requests, wrong, errors.connect, errors.read, errors.write, errors.timeout))
end
"""


def run(folder, url, expected, *, connections=50, seconds=2):
    """Load a URL that answers with these bytes, and return how many answers there were.

    An answer that is not exactly these bytes, and an error of a connection, fail the test.
    """
    script, body = folder / "check.lua", folder / "expected"
    script.write_text(SCRIPT)
    body.write_bytes(expected)
    wrk = requirements.program("wrk", "wrk")
    command = [wrk, "-t2", f"-c{connections}", f"-d{seconds}s", "-s", script, url, "--", body]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=30 + seconds,
        env=requirements.environment(),
    )
    report = re.search(r"^answers=(\d+) (.*)$", done.stdout, re.MULTILINE)
    assert report is not None, done.stdout + done.stderr
    assert report[2] == "wrong=0 connect=0 read=0 write=0 timeout=0", report[0]
    assert int(report[1]) > connections, report[0]
    return int(report[1])
