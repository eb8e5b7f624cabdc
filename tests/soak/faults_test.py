"""Around a service at work the clock is set, hours and years to and fro, and memory runs out. As when something is killed
(crashes_test.py), whatever a client asks must end, with the right answer or a line that says why not; and afterwards the
service answers, without having been started again or given keys anew.
"""

import glob
import os
import pathlib
import random
import resource
import time
import unittest

from supervised import PICTURES, TIMES, SupervisedTest, children

FAKETIME = next(iter(glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")), None)
HOUR, YEAR = 3600, 365 * 86400


class Clock:
    """What a program under libfaketime takes for the time. Timers that count from the start are the machine's own."""

    def __init__(self, folder):
        self.file = pathlib.Path(folder) / "clock"
        self.set(0)
        self.environment = {"LD_PRELOAD": FAKETIME, "FAKETIME_TIMESTAMP_FILE": str(self.file), "FAKETIME_NO_CACHE": "1",
                            "FAKETIME_DONT_FAKE_MONOTONIC": "1"}

    def set(self, seconds):
        new = self.file.with_suffix(".new")
        new.write_text(f"{seconds:+d}")
        new.replace(self.file)


class Faults(SupervisedTest):
    def still_the_same(self, before):
        self.assertEqual(self.answers(self.supervisor.ask(), PICTURES), (PICTURES, 0))
        self.assertEqual(before, (self.supervisor.running["host"].pid, children(self.supervisor.running["host"].pid),
                                  self.supervisor.keys_given()), "started again, or given keys again")

    def now(self):
        host = self.supervisor.running["host"].pid
        return host, children(host), self.supervisor.keys_given()

    @unittest.skipUnless(FAKETIME, "SKIPPED: needs libfaketime (./dev test installs it)")
    def test_1_the_clock_jumps(self):
        clock = Clock(self.supervisor.folder)
        for process in self.supervisor.running.values():
            process.kill()
            process.wait()
        before = dict(os.environ)
        os.environ.update(clock.environment)
        self.addCleanup(os.environ.update, before)
        self.addCleanup(lambda: [os.environ.pop(name) for name in clock.environment])
        self.recover()
        running, dice = self.now(), random.Random(1)
        answered = 0
        for _ in range(6):
            asked = self.supervisor.ask(TIMES)
            while asked.process.poll() is None:
                clock.set(dice.choice([0, -HOUR, HOUR, -YEAR, YEAR]) + dice.randrange(60))
                time.sleep(dice.uniform(0, 0.05))
            answered += self.answers(asked, PICTURES * TIMES)[0]
        self.assertGreater(answered, 0)
        for seconds in (HOUR, -YEAR, 0):
            clock.set(seconds)
            self.still_the_same(running)

    def test_2_memory_runs_out(self):
        self.recover()
        running = self.now()
        host, (enclave,) = running[:2]
        for pid in (enclave, host):
            size = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
            for room in (0, 1 << 18, 1 << 20):
                with self.subTest("host" if pid == host else "enclave", room=room):
                    before = resource.prlimit(pid, resource.RLIMIT_AS, (size + room, resource.RLIM_INFINITY))
                    asked = [self.supervisor.ask(TIMES) for _ in range(2)]
                    asked[0].wait_for(PICTURES)
                    for each in asked:
                        self.answers(each, PICTURES * TIMES)
                    resource.prlimit(pid, resource.RLIMIT_AS, before)
                    self.still_the_same(running)


if __name__ == "__main__":
    unittest.main()
