"""run_script.py SCRIPT ARGUMENT…: a test in Python for ctest: exit status 77, which ctest counts as skipped, only where
the script passed and said SKIPPED. A script that fails has failed, whatever else it skipped."""

import subprocess
import sys

run = subprocess.run([sys.executable, "-B", *sys.argv[1:]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
print(run.stdout, end="")
sys.exit(77 if run.returncode == 0 and "SKIPPED" in run.stdout else run.returncode)
