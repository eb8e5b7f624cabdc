#!/usr/bin/env bash
# try.sh <packages.tar: installs the .deb and the wheel on a machine that has nothing else of the project, and uses both:
# a bundle is made, served and asked from the command line and from Python. The archive is what './dev package' leaves in
# build/packages/try.tar.
set -euo pipefail
work=$(mktemp -d)
server=
stop() { [ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$work"; }
trap stop EXIT
cd "$work"
tar x
export DEBIAN_FRONTEND=noninteractive XDG_STATE_HOME=$work/state
apt-get update -qq
apt-get install -y -qq --no-install-recommends ./*.deb >apt.log 2>&1 || { tail -n 20 apt.log; exit 1; }
apt-get install -y -qq --no-install-recommends python3-venv >>apt.log 2>&1 || { tail -n 20 apt.log; exit 1; }
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check ./*.whl
infenclave --version
infenclave keygen -o owner.pem
cut=$(infenclave inspect model.onnx --json | python3 -c '
import json, sys
maps = [cut for cut in json.load(sys.stdin)["cuts"] if len(cut["shape"]) == 4]
print(maps[len(maps) // 2]["name"])')
infenclave partition model.onnx --labels labels.txt --owner-key owner.pem -o m.bundle --cut "$cut" --tee simulated --open
infenclave serve m.bundle --listen 127.0.0.1:0 --http 127.0.0.1:0 --json >ready 2>serve.log &
server=$!
for _ in $(seq 600); do [ ! -s ready ] || break; sleep 0.1; done
address=$(python3 -c 'import json; print(json.load(open("ready"))["address"])')
infenclave provision m.bundle.keys --policy m.bundle.policy.toml --server "$address"
infenclave classify picture.jpg --policy m.bundle.policy.toml --server "$address" --json >said.json
cat said.json
venv/bin/python - "$address" <<'PYTHON'
import json, sys
import infenclave
said = json.load(open("said.json"))[0]["classes"]
with infenclave.Client(sys.argv[1], "m.bundle.policy.toml") as client:
    answer = client.classify("picture.jpg")
assert [found.label for found in answer.classes] == [found["label"] for found in said], answer
print("the wheel says the same as the package:", answer.label)
PYTHON
apt-get remove -y -qq infenclave >>apt.log 2>&1
[ ! -e /usr/bin/infenclave ]
echo "package and wheel work"
