#!/usr/bin/env bash
# The main job end to end, for ./dev demo: every step is one command, shown before it runs, to be repeated by hand.
# Expects build/infenclave, the two networks in build/models and the unpacked packages in build/debian. DEMO_CUTS names
# other cuts to assess: the first ones (stem,block01/project) show what is said where none is safe.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

infenclave=build/infenclave
models=build/models
demo=build/demo
served=$models/efficientnet-lite0
oracle=$models/efficientnet-lite2
# Where the assessment finds no safe cut, the demonstration goes on with this one.
cut_for_show=block11/add
# The demonstration assesses the ends of blocks, and a sample of each one's maps; leave --cuts and --maps out for all.
cuts=stem,block01/project,block02/project,block03/add,block04/project,block05/add,block06/project,block07/add,block08/add
cuts+=,block09/project,block10/add,block11/add,block12/project,block13/add,block14/add,block15/add,block16/project,head
cuts=${DEMO_CUTS:-$cuts}
maps=32

costs=()
server=''
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true' EXIT

heading() { printf '\n==> %s\n' "$*"; }
cost() { costs+=("$(printf '%-34s %5d s' "$1" "$2")"); }

# step WHAT COMMAND…: shows the command, runs it, remembers what it took.
step() {
  local what=$1 start=$SECONDS
  shift
  printf '$ %s\n' "$*"
  "$@"
  cost "$what" $((SECONDS - start))
}

# json FILE EXPRESSION: a value of a JSON file, by a Python expression over `j`; nothing if it is null.
json() {
  build/venv/bin/python -c 'import json,sys; j=json.load(open(sys.argv[1])); v=eval(sys.argv[2]); print("" if v is None else v)' "$@"
}

gather_photographs() {
  local debian=build/debian photographs=$demo/photographs data=usr/lib/python3/dist-packages
  mkdir -p "$photographs"
  (
    cd "$debian"
    ln -- darknet/usr/share/darknet/data/{dog,eagle,giraffe,horses,kite,person}.jpg \
      palapeli-data/usr/share/palapeli/collection/{castle-maintenon,cincinnati-bridge,citrus-fruits,european-honey-bee,panther-chameleon-female}.jpg \
      lomiri-wallpapers-16.04/usr/share/backgrounds/{Bridge,Dragonfly,Picture_0B,Picture_1A,Wine,aitzgorri,free,friends,greentock,life,picosdeeuropa,seeding,sunset}_by_*.jpg \
      python3-skimage/$data/skimage/data/{astronaut.png,motorcycle_left.png,coffee.png,chelsea.png,rocket.jpg} \
      python3-sklearn/$data/sklearn/datasets/images/{china,flower}.jpg \
      "../../$photographs"
  )
  printf '%s photographs from Debian packages, in %s\n' "$(find "$photographs" -type f | wc -l)" "$photographs"
}

choose_cut() {
  local assessment=$demo/assessment/assessment.json cut
  cut_flags=(--assessment "$assessment")
  cut=$(json "$assessment" 'j["recommended"]["cut"]')
  if [ -n "$cut" ]; then
    printf '\nThe assessment recommends the cut %s, as far as the KL oracle can tell. Attacks that train have not run,\n' "$cut"
    printf 'and may well say otherwise; and of each cut only %s maps were scored, where the most revealing one counts.\n' "$maps"
    return
  fi
  cut_flags+=(--cut "$cut_for_show")
  cat <<END

The assessment found no cut that is safe: $(json "$assessment" 'j["recommended"]["why"]')
An owner would stop here, or keep the whole network in the enclave. The demonstration goes on with
$cut_for_show, CHOSEN FOR SHOW: a host could learn about the pictures from what crosses it there.
END
}

start_server() {
  local ready=$demo/ready.json
  printf '$ %s serve %s --listen 127.0.0.1:0 --json &\n' "$infenclave" "$demo/bundle"
  "$infenclave" serve "$demo/bundle" --listen 127.0.0.1:0 --json >"$ready" 2>"$demo/serve.log" &
  server=$!
  for _ in {1..300}; do
    grep -qs '"ready"' "$ready" && break
    kill -0 "$server" 2>/dev/null || break
    sleep 0.1
  done
  grep -qs '"ready"' "$ready" || { cat "$demo/serve.log" >&2; echo 'demo: the server did not start' >&2; exit 1; }
  address=$(json "$ready" 'j["address"]')
  printf 'listening on %s (its log: %s)\n' "$address" "$demo/serve.log"
}

rm -rf "$demo" && mkdir -p "$demo"
heading 'Photographs that a user may want to keep to herself'
gather_photographs

heading 'The network, and where it can be cut'
step 'inspect' "$infenclave" inspect "$served.onnx"

heading 'The owner asks how much each cut gives away (on a trusted machine)'
step 'assess' "$infenclave" assess "$served.onnx" --oracle "$oracle.onnx" --images "$demo/photographs" \
  --oracle-labels "$oracle.labels.txt" --cuts "$cuts" --maps "$maps" -o "$demo/assessment"
choose_cut

heading 'The owner cuts, seals and signs, and invites a user'
step 'keygen' "$infenclave" keygen -o "$demo/owner.pem"
step 'partition' "$infenclave" partition "$served.onnx" --labels "$served.labels.txt" --owner-key "$demo/owner.pem" \
  "${cut_flags[@]}" --tee simulated -o "$demo/bundle"
step 'invite' "$infenclave" invite --owner-key "$demo/owner.pem" --name alice -o "$demo/alice.credential"

heading 'The host serves the bundle, and cannot open it'
start_server

heading 'The owner releases the keys to the attested enclave'
step 'provision' "$infenclave" provision "$demo/bundle.keys" --policy "$demo/bundle.policy.toml" --server "$address"

heading 'The user attests, seals, asks and opens'
photographs=("$demo"/photographs/{dog,eagle,european-honey-bee,panther-chameleon-female}.jpg "$demo"/photographs/{coffee,chelsea}.png)
step 'attest' "$infenclave" attest --server "$address" --policy "$demo/bundle.policy.toml"
step 'classify' "$infenclave" classify "${photographs[@]}" --policy "$demo/bundle.policy.toml" --server "$address" \
  --credential "$demo/alice.credential"

heading 'Done'
printf 'The TEE was SIMULATED: this machine could have read everything. See README.md for what that means.\n'
printf 'Report: %s\n\nWhat each part cost:\n' "$PWD/$demo/assessment/report.html"
[ -z "${DEMO_BUILD_SECONDS:-}" ] || printf '  %-34s %5d s\n' 'packages and build' "$DEMO_BUILD_SECONDS" 'networks and photographs' "$DEMO_FETCH_SECONDS"
printf '  %s\n' "${costs[@]}"
