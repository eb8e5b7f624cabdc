"""Everything may be killed at any time: enclave, host, BackNet, provisioner and client. This script plays the supervisor
(systemd, Kubernetes), which starts again whatever ended, on the same addresses; `provision --watch` gives each new enclave
its keys. Whatever a client asks meanwhile must end: with the right answer, or with one line that says why not. Afterwards
the service must answer again, and no enclave may outlive its host.

INFENCLAVE_CRASHES=N kills N times (20 without) and prints what came of it; INFENCLAVE_CRASHES_STATE=FILE adds that to what
earlier runs with the same file came to, so that a long run can be taken up again.
"""

import collections
import json
import os
import pathlib
import random
import resource
import signal
import socket
import time
import unittest

from supervised import PICTURES, TIMES, SupervisedTest, children

ROUNDS = int(os.environ.get("INFENCLAVE_CRASHES", "20"))
STATE = os.environ.get("INFENCLAVE_CRASHES_STATE")
VICTIMS = ("enclave", "host", "backnet", "provisioner", "client")


class Crashes(SupervisedTest):
    def crash(self, victim, dice):
        """One kill; what came of it, to be added up."""
        host = self.supervisor.running["host"]
        enclaves = children(host.pid)
        self.assertEqual(len(enclaves), 1)
        asked = self.supervisor.ask(TIMES)
        if dice.random() < 0.5:
            time.sleep(dice.uniform(0, 0.3))  # while it connects, mostly
        else:
            asked.wait_for(dice.randrange(1, PICTURES * TIMES))
        pid = {"enclave": enclaves[0], "client": asked.process.pid}.get(victim) or self.supervisor.running[victim].pid
        os.kill(pid, signal.SIGKILL)
        counts = collections.Counter({f"killed {victim}": 1})
        if victim == "client":  # which may have been done
            self.assertIn(asked.end()[0], (-signal.SIGKILL, 0))
        else:
            counts["answered"], counts["failed"] = self.answers(asked, PICTURES * TIMES)
            counts["broken off"] = 0 < counts["answered"] < PICTURES * TIMES
        if victim in ("enclave", "host"):
            deadline = time.monotonic() + 60
            while pathlib.Path(f"/proc/{enclaves[0]}/exe").exists():
                self.assertLess(time.monotonic(), deadline, "the enclave outlived its host")
                time.sleep(0.05)
        return counts

    def test_1_killed_at_any_time_it_comes_back(self):
        sums = collections.Counter()
        if STATE and pathlib.Path(STATE).exists():
            sums.update(json.loads(pathlib.Path(STATE).read_text()))
        self.recover()
        for _ in range(ROUNDS):
            done = sums["kills"]
            victim, dice = VICTIMS[done % len(VICTIMS)], random.Random(done)
            with self.subTest(round=done, victim=victim):
                given = self.supervisor.keys_given()
                sums += self.crash(victim, dice)
                seconds = self.recover()
                given = self.supervisor.keys_given() - given
                if victim in ("enclave", "host"):
                    self.assertGreaterEqual(given, 1, "a new enclave answers without new keys")
                sums.update({"kills": 1, "keys given": given, "seconds to recover": seconds})
                sums["longest"] = max(sums["longest"], seconds)
            self.assertEqual(sums["kills"], done + 1, "this round failed; see above")
            if STATE:
                pathlib.Path(STATE).write_text(json.dumps(sums))
        print(self.summary(sums))

    @staticmethod
    def summary(sums):
        each = ", ".join(f"{victim} {sums[f'killed {victim}']}" for victim in VICTIMS)
        return (f"\n{sums['kills']} kills ({each}): of {sums['answered'] + sums['failed']} pictures asked meanwhile "
                f"{sums['answered']} were answered rightly and {sums['failed']} failed with a line that says so, "
                f"{sums['broken off']} times in the middle of a folder; keys given {sums['keys given']} times by "
                f"provision --watch; back after {sums['seconds to recover'] / sums['kills']:.1f} s on average and "
                f"{sums['longest']:.1f} s at most")

    def test_2_a_flood_of_connections_finds_descriptors(self):
        """With the 64 that it is started with, 200 connections would leave gRPC without, and it would close its port."""
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        for process in self.supervisor.running.values():
            process.kill()
            process.wait()
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, before[1]))
        try:
            self.supervisor.mend()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        self.recover()
        host = self.supervisor.running["host"].pid
        name, port = self.supervisor.address.split(":")
        idle = [socket.create_connection((name, int(port)), timeout=10) for _ in range(200)]
        try:
            self.assertEqual(self.answers(self.supervisor.ask(), PICTURES), (PICTURES, 0))
        finally:
            for connection in idle:
                connection.close()
        self.assertEqual(self.supervisor.running["host"].pid, host)


if __name__ == "__main__":
    unittest.main()
