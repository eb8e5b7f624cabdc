#!/bin/sh
# manual.sh PROGRAM PAGE: the page with the commands that the program's own help lists, in place of its @COMMANDS@.
set -eu
"$1" --help | awk '
  /^Commands:/ { on = 1; next }
  /^$/ { on = 0 }
  on && /^  [a-z]/ { printf "%s.TP\n.B %s\n", (name == "" ? "" : "\n"), name = $1; $1 = ""; printf "%s", substr($0, 2); next }
  on { $1 = $1; printf " %s", $0 }
  END { print "" }' | sed -e 's/-/\\-/g' >"$2.commands"
sed -e "/^@COMMANDS@\$/{
r $2.commands
d
}" "${0%/*}/infenclave.1" >"$2"
rm "$2.commands"
