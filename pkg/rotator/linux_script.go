package rotator

// What runs on a Linux machine. Every command line is constant: names and
// passwords arrive on standard input only, so that no process list, shell
// history or sudo log ever shows one.
//
// The texts stand between single quotes and on one line, for whatever log-in
// shell the admin has. So they hold no single quote and no exclamation mark
// (csh), and no doubled backslash (fish). They are POSIX sh; printf must be a
// builtin, because an external one would show its arguments, which is checked
// where a hash or a password is about to be printed.
//
// The first line of input is "keyturn1 NONCE". Every line of ours begins with
// "kt1 NONCE", which no banner, profile or tool can know; the last says "end"
// and how it went. Input is acted on only after its last line has arrived, for
// a cut one would set a cut password.
const (
	linuxPrelude = `set +xv; umask 077; trap "" HUP; ` +
		`PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; LC_ALL=C; export PATH LC_ALL; ` +
		`read -r M N; if [ "$M" = keyturn1 ]; then :; else exit 97; fi; ` +
		`say() { printf "kt1 %s %s\n" "$N" "$*"; }; ` +
		`end() { say "end $1"; exit 0; }; `

	// linuxBuiltin refuses a shell whose printf is a program of its own.
	linuxBuiltin = `case "$(command -v printf)" in */*) end printf;; esac; `

	// linuxFind defines find, which reads the account's line of /etc/shadow into
	// F (found), H (hash), C (its class), D (its digest) and the ages.
	linuxFind = `B=$(printf "\041"); ` +
		`find() { F=no; H=; C=; D=; ` +
		`while IFS=: read -r n h last min max warn inactive expire rest || [ -n "$n" ]; do ` +
		`if [ "$n" = "$U" ]; then F=yes; H=$h; break; fi; done </etc/shadow; ` +
		`case "$H" in "") C=empty;; "$B"|"$B$B"|"*"|"$B*") C=none;; "$B"*) C=locked;; *) C=set;; esac; ` +
		`D=$(printf "%s" "$H" | sha256sum); D=${D%% *}; }; ` +
		`if [ -r /etc/shadow ]; then :; else end unreadable; fi; `

	// linuxProbe asks who we are and whether sudo asks for a password.
	linuxProbe = linuxPrelude +
		`I=$(id -u); say "uid $I"; ` +
		`if [ "$I" = 0 ]; then end ok; fi; ` +
		`if command -v sudo >/dev/null 2>&1; then :; else end nosudo; fi; ` +
		`sudo -n /bin/sh -c : </dev/null >/dev/null 2>&1; say "sudo $?"; end ok`

	// linuxLook reads everything about one account and changes nothing.
	linuxLook = linuxPrelude + `IFS= read -r U; read -r X; if [ "$X" = "end $N" ]; then :; else exit 97; fi; ` +
		linuxBuiltin +
		`for f in /etc/machine-id /var/lib/dbus/machine-id; do ` +
		`if [ -r "$f" ]; then IFS= read -r m <"$f"; say "machine $m"; break; fi; done; ` +
		`K=no; while IFS=: read -r n p u g c d s || [ -n "$n" ]; do ` +
		`if [ "$n" = "$U" ]; then K=yes; say "uid $u"; say "shell $s"; break; fi; done </etc/passwd; ` +
		`if [ "$K" = no ]; then ` +
		`if getent passwd "$U" >/dev/null 2>&1; then end directory; fi; end unknown; fi; ` +
		`for c in chpasswd timeout sha256sum; do if command -v "$c" >/dev/null 2>&1; then :; else say "missing $c"; fi; done; ` +
		linuxFind + `find; ` +
		`if [ "$F" = no ]; then end noshadow; fi; ` +
		`say "class $C"; say "digest $D"; say "last $last"; say "expire $expire"; say "today $(( $(date +%s) / 86400 ))"; ` +
		`grep -hs -e pam_faillock.so -e pam_tally /etc/pam.d/* | head -n 20 | while IFS= read -r l; do say "pam $l"; done; ` +
		`grep -s deny /etc/security/faillock.conf | head -n 5 | while IFS= read -r l; do say "faillock $l"; done; ` +
		`end ok`

	// linuxSet changes the password, unless the hash is not the expected one any
	// more. chpasswd waits for minutes where somebody holds the lock of the shadow
	// file, hence timeout.
	linuxSet = linuxPrelude + `IFS= read -r U; IFS= read -r E; IFS= read -r J; IFS= read -r W; ` +
		`read -r X; if [ "$X" = "end $N" ]; then :; else exit 97; fi; ` +
		linuxBuiltin + linuxFind + `find; ` +
		`if [ "$F" = no ]; then end noshadow; fi; ` +
		`case "$C" in locked|none) end "$C";; esac; ` +
		`if [ "$E" = - ] || [ "$E" = "$D" ]; then :; else end drift; fi; ` +
		`T=; if command -v timeout >/dev/null 2>&1; then T="timeout -k 5 20"; fi; ` +
		`say "before $D"; say acting; ` +
		`O=$(printf "%s:%b\n" "$U" "$W" | $T chpasswd 2>&1); R=$?; W=; ` +
		`find; say "after $D"; say "code $R"; ` +
		`printf "%s\n" "$O" | head -n 20 | while IFS= read -r l; do say "message $l"; done; ` +
		`if [ -n "$T" ]; then $T logger -t keyturn "job $J: password of $U, chpasswd exit code $R" >/dev/null 2>&1; fi; ` +
		`end ok`

	// linuxTest asks the helper of pam_unix, which reads the hash as root and
	// knows every kind of it, whether a password is right.
	linuxTest = linuxPrelude + `IFS= read -r U; IFS= read -r W; ` +
		`read -r X; if [ "$X" = "end $N" ]; then :; else exit 97; fi; ` +
		linuxBuiltin + linuxFind + `find; say "class $C"; ` +
		`if command -v unix_chkpwd >/dev/null 2>&1; then :; else end nohelper; fi; ` +
		`printf "%b\000" "$W" | unix_chkpwd "$U" nonull >/dev/null 2>&1; say "code $?"; end ok`
)

// How a script is started: directly, through sudo that asks nothing, or through
// sudo that reads the first line of input. -k makes it read that line even where
// it would remember the password, so that the line never reaches the script.
const (
	linuxDirect   = `/bin/sh -c '`
	linuxSudo     = `env LC_ALL=C sudo -n /bin/sh -c '`
	linuxSudoAsks = `env LC_ALL=C sudo -k -S -p "" /bin/sh -c '`

	// linuxGrant tries the sudo password alone: sudo asks again after a wrong
	// one, and would take the next lines of input for passwords.
	linuxGrant = linuxSudoAsks + `echo granted'`

	// linuxWhoAmI runs as the account itself.
	linuxWhoAmI = `id -un`
)
