package commands

import (
	"slices"
	"strings"
)

// A foreign row tells people who know Commander about words of it that Keyturn does
// not have. docs/commander.md is made of these rows.
type foreign struct {
	of    string // the commands whose sub-commands or flags they are; "" for the root
	words string // with their aliases; "share-*" is a family of words
	why   string // what stands for them here, or why nothing does
}

const (
	noCloud       = "it is for Keeper's cloud; a local vault has nothing to do there"
	noAttachments = "records have no attachments"
	noSharing     = "nothing is shared in a local vault"
	noClouds      = "environments are local and domain; cloud accounts are not rotated"
	noSessions    = "Keyturn opens no sessions on machines"
	noSchedule    = "there is no scheduler: cron or the Task Scheduler starts keyturn pam action rotate -r USER"
)

// foreignWords are Commander's words that are answered with a reason.
func foreignWords() []foreign {
	return slices.Concat(foreignCommands(), foreignPam(), foreignFlags())
}

func foreignCommands() []foreign {
	return []foreign{
		{"", "ln", "a record is in one folder: keyturn mv RECORD FOLDER"},
		{"", "lsf", "keyturn ls -f"},
		{"", "login-status", "keyturn whoami"},
		{
			"", "this-device",
			"keyturn login --timeout 15m, keyturn shell --timeout 15m; keyturn key list shows what opens the vault",
		},
		{"", "audit-log al", "keyturn audit export"},
		{"", "audit-report ar", "keyturn audit list"},
		{"", "download-attachment da upload-attachment ua delete-attachment file-report", noAttachments},
		{"", "append-notes an", "keyturn record-update -r RECORD -n +TEXT"},
		{"", "sh", "keyturn find-password RECORD prints a password, clipboard-copy RECORD copies it"},
		{"", "r", "keyturn pam action rotate -r USER"},
		{"", "record-type rt", "record types are built in: keyturn record-type-info shows them"},
		{"", "convert convert-all", "keyturn record-update -r RECORD -rt TYPE changes a record's type"},
		{"", "sleep", "keyturn run-batch --delay SECONDS FILE waits between commands"},
		{"", "debug", "keyturn --debug FILE COMMAND writes a log"},
		{"", "q quit", "it ends a shell or a batch"},
		{"", "supershell", "keyturn shell"},
		{"", "delete-all delete-corrupted", "keyturn rm removes records, vault check and vault salvage are for damage"},
		{"", "reset-password", "keyturn passwd changes the master password"},
		{"", "connect ssh rdp", noSessions},
		{"", "secrets-manager sm ksm", "Keyturn works on machines itself: there are no applications and no tokens"},
		{
			"", "enterprise-* msp-* share-* team-* sso-* compliance-* nsf-* one-time-share breachwatch bw device-approve two-fa 2fa " +
				"sync-security-data security-audit-report record-permission find-duplicate-shares transfer-user accept-transfer " +
				"account-recovery automator scim public-api-key epm pedm switch-to-mc", noCloud,
		},
	}
}

func foreignPam() []foreign {
	return []foreign{
		{"pam", "tunnel t split s legacy connection n rbi b launch l", noSessions},
		{"pam", "workflow w access ac universal-sync-config usc universal-sync-run usr cnapp cn", noCloud},
		{
			"pam gateway", "set-max-instances smi",
			"keyturn pam action rotate --max-concurrency N bounds how many machines are worked on at once",
		},
		{"pam action", "saas sa", noClouds},
		{"pam action", "debug", "keyturn --debug FILE COMMAND writes a log"},
		{"pam action discover", "rule", "there are no rules: keyturn pam action discover process asks what to take"},
		{
			"pam rotation", "script s",
			"no scripts run after a rotation: what depends on a password is a mapping, keyturn pam action service add",
		},
	}
}

func foreignFlags() []foreign {
	return []foreign{
		{"", "--config --config-file --data-dir", "keyturn --vault DIR, or KEYTURN_HOME"},
		{"", "--user -ku --server -ks --new-login --proxy --fail-on-throttle", noCloud},
		{"", "--password -kp", "a password on a command line is read by others: --password-file FILE"},
		{"", "--unmask-all", "keyturn get RECORD --unmask shows the secrets of one record, and is audited"},
		{
			"", "--silent --batch-mode",
			"without a terminal nothing is asked; results are on standard output, all else on standard error",
		},
		{"mv", "--can-reshare -s --can-edit -e --shared-folder --user-folder", noSharing},
		{"mkdir, rndir", "--color", "folders have no colors"},
		{"get", "--legacy --include-dag", "keyturn get RECORD --format json has all of a record"},
		{"search", "--device", noCloud},
		{"export", "--max-size --zip", noAttachments},
		{"record-add", "--self-destruct", noSharing},
		{"record-add", "--attach", noAttachments},
		{
			"generate", "--crypto --recoveryphrase",
			"keyturn generate -n LENGTH; all its passwords are of the system's random source",
		},
		{"clipboard-copy", "--username", "keyturn clipboard-copy RECORD, by UID, title or path"},
		{"clipboard-copy", "--revision -r", "keyturn record-history view RECORD -r REVISION --unmask"},
		{"import", "--shared --permissions --users", noSharing},
		{
			"pam action rotate", "--folder -f",
			"rotate takes one account; keyturn list -t pamUser --format csv lists them",
		},
		{
			"pam action rotate", "--self-destruct --email-config --send-email --email-message",
			"no links to records are made, and no mail is sent",
		},
		{"pam rotation edit", "--folder -fd", "one account at a time: -r USER"},
		{
			"pam rotation edit", "--schedulejson -sj --schedulecron -sc --schedule-config -sf --schedule-only -so",
			noSchedule,
		},
		{"pam rotation edit", "--iam-aad-config -iac --saas-config-uid", noClouds},
		{"pam gateway edit", "--node-id -i", noCloud},
		{"pam gateway new", "--config-init", "there is no token: Keyturn works on machines itself"},
		{"pam config new, pam config edit", "--schedule -sc", noSchedule},
		{
			"pam config new, pam config edit", "--port-mapping -pm --identity-provider -idp --connections --tunneling -u -rbi -cr -tr",
			noSessions,
		},
		{"pam action discover start", "--inc-azure-aadds --skip-cloud-users", noClouds},
		{"pam action discover start", "--skip-rules", "there are no rules"},
		{
			"pam action discover start", "--skip-machines --skip-databases --skip-directories --lang --include-machine-dir-users",
			"it looks for services, tasks and pools on the machines there are, and adds no records",
		},
		{"pam project import", "--nsf", noCloud},
	}
}

// elsewhere says what stands for a word of Commander behind the command called of, ""
// for the root; it is "" for words that are not Commander's.
func elsewhere(of, word string) string {
	for _, f := range foreignWords() {
		if slices.Contains(strings.Split(f.of, ", "), of) && f.has(word) {
			return f.why
		}
	}
	return ""
}

// has reports whether a word is one of the row's, or of one of its families.
func (f foreign) has(word string) bool {
	for w := range strings.FieldsSeq(f.words) {
		family, many := strings.CutSuffix(w, "*")
		if w == word || many && strings.HasPrefix(word, family) {
			return true
		}
	}
	return false
}
