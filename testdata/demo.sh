#!/bin/sh
# The first hour with Keyturn, for real, on practice machines: `make demo`.
# Everything happens in a folder that is made anew; the lab is stopped at the end.
#   demo.sh [BINARIES [FOLDER]]    (default: the checkout, and .demo in it)
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
PATH="${1:-$here}:$PATH"
folder=${2:-$here/.demo}
rm -rf "$folder"
mkdir -p "$folder"
cd "$folder"
export PATH KEYTURN_HOME=home KEYTURN_PASSWORD_FILE=pw XDG_STATE_HOME="$folder/state"

say() { printf '\n# %s\n' "$*"; }
# run prints a command as it is typed, then its output; the output is also kept in .out.
run() {
    printf '$'
    for word in "$@"; do
        case $word in
        *[!A-Za-z0-9_./:,=@-]*) printf " '%s'" "$word" ;;
        *) printf ' %s' "$word" ;;
        esac
    done
    printf '\n'
    rc=0
    "$@" >.out 2>&1 || rc=$?
    cat .out
    if [ "$rc" -ne 0 ]; then
        printf '(exit %s)\n' "$rc"
        exit "$rc"
    fi
}

say 'practice machines: a domain controller and three servers, on loopback'
lab= ; trap '[ -z "$lab" ] || { kill "$lab" 2>/dev/null || :; wait "$lab" 2>/dev/null || :; }' EXIT INT TERM
printf '$ export KEYTURN_HOME=home KEYTURN_PASSWORD_FILE=pw\n'
printf '$ keyturn-lab start --machines 3 --state lab &\n'
keyturn-lab start --machines 3 --state lab >lab.out 2>&1 &
lab=$!
tries=0
until grep -q '^ready' lab.out; do
    kill -0 "$lab" 2>/dev/null || { cat lab.out; exit 1; }
    tries=$((tries + 1))
    [ "$tries" -lt 600 ] || { echo 'the lab did not get ready in a minute'; exit 1; }
    sleep 0.1
done
cat lab.out
at() { awk -v m="$1" '$1 == m { print $2 }' lab.out; }
pin() { awk -v m="$1" '$1 == m { print $3 }' lab.out; }

say 'a throw-away vault'
LC_ALL=C tr -dc 'A-Za-z0-9' </dev/urandom 2>/dev/null | head -c 20 >pw
run keyturn init

say 'the machines, the admin who logs in to them, and the service account'
for m in DC01 SRV1 SRV2 SRV3; do
    run keyturn record-add -rt pamMachine -t "$m" "pamHostname=$(at $m)" text.operatingSystem=windows "c.text.serverPin=$(pin $m)"
done
run keyturn record-add -rt pamUser -t 'LAB admin' 'login=LAB\admin' password=@lab/admin.password
run keyturn record-add -rt pamUser -t svc_app 'login=LAB\svc_app' password=@lab/svc_app.password

say 'who logs in, and where the password is decided'
run keyturn pam config edit 'Local Network' -a 'LAB admin'
run keyturn pam rotation edit -r svc_app -rs DC01 -x 24,2,2,2,2 -od --enable --force
run keyturn pam gateway list
run keyturn ls -l

say 'what follows the password'
run keyturn pam action service
for m in SRV1 SRV2 SRV3; do
    for t in service task iis; do
        run keyturn pam action service add -g Embedded -m "$m" -u svc_app -t "$t"
    done
done
run keyturn pam action service list -g Embedded

say 'what a rotation would do'
run keyturn pam action rotate -r svc_app --dry-run

say 'the rotation'
run keyturn pam action rotate -r svc_app
job=$(sed -n 's/^Scheduled action id: //p' .out | head -n 1)
run keyturn pam action job-info "$job"

say 'after: who logs on with what, what was restarted, what stayed stopped'
run keyturn-lab show --state lab
