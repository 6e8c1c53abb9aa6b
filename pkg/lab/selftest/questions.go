package selftest

import (
	"regexp"
	"strings"

	"keyturn/pkg/powershell"
)

// A question is one line of the checklist: what is asked, which fact answers
// it, and what Keyturn counts on. want is nil where both answers are allowed
// for and only nobody knows which it is.
type question struct {
	id   string // of the checklist
	ask  string
	op   powershell.Op // that answers; "" is a part that always runs
	fact string
	want *regexp.Regexp
	says string // what is expected, in words
	// unless, when it returns a reason, makes the question one that could not be
	// asked on this machine.
	unless func(value string) string
}

func exactly(values ...string) *regexp.Regexp {
	for i, v := range values {
		values[i] = regexp.QuoteMeta(v)
	}
	return regexp.MustCompile("^(?:" + strings.Join(values, "|") + ")$")
}

// questions are the checklist, in its order.
func questions() []question {
	all := transportQuestions()
	all = append(all, serviceQuestions()...)
	all = append(all, taskQuestions()...)
	all = append(all, logonQuestions()...)
	all = append(all, poolQuestions()...)
	all = append(all, logQuestions()...)
	return append(all, machineQuestions()...)
}

func transportQuestions() []question {
	return []question{
		{id: "1", ask: "The constant command line gets its frame as raw input", fact: "ping.main", want: exactly("ok"), says: "ok"},
		{id: "1", ask: "The same over SSH", fact: "ping.ssh", want: exactly("ok"), says: "ok"},
		{id: "1", ask: "A frame of more than 1 MiB arrives whole", fact: "stdin.big", want: exactly("ok"), says: "ok"},
		{id: "14", ask: "Milliseconds of an inventory, connection and all", fact: "look.ms", says: "a number to compare"},
		{id: "14", ask: "Services on the machine", op: opFacts, fact: "count.services", says: "1,000 were wanted for the timing"},
		{id: "14", ask: "Tasks on the machine", op: opFacts, fact: "count.tasks", says: "2,000 were wanted for the timing"},
		{
			id: "12", ask: "A script whose connection was cut goes on to its end", op: opCut, fact: "cut.survived",
			want: exactly("1"), says: "1: it survives",
		},
	}
}

func serviceQuestions() []question {
	return []question{
		{
			id: "2", ask: "Win32_Service.Change with a wrong password", op: opServices, fact: "service.change.wrong",
			want: exactly("0"), says: "0: the service manager does not try it",
		},
		{
			id: "2", ask: "Wrong passwords counted by that", op: opServices, fact: "service.change.wrong.counted",
			want: exactly("0"), says: "0",
		},
		{
			id: "3", ask: "A start with a wrong password where the one before was right", op: opServices, fact: "service.start.wrong",
			says: "1069, or 0 when the service manager falls back to its backup password (event 7013)",
		},
		{
			id: "4", ask: "Change with StartPassword and no StartName", op: opServices, fact: "service.change.alone",
			says: "not used by Keyturn: it always sends the name",
		},
		{
			id: "4", ask: "The account after that", op: opServices, fact: "service.change.alone.name",
			says: "kept, or none as WMI's documentation says",
		},
		{
			id: "8", ask: "A running service after its account's password was changed", op: opServices, fact: "service.state.changed",
			want: exactly("Running"), says: "Running",
		},
		{
			id: "8", ask: "A start with the old password after a change", op: opServices, fact: "service.start.old",
			want: exactly("1069"), says: "1069: a local account knows no grace",
		},
		{
			id: "8", ask: "Wrong passwords counted by that start", op: opServices, fact: "service.start.old.counted",
			says: "1, or 0 when the previous password is not counted",
		},
		{
			id: "2", ask: "Change with the right password, then a start", op: opServices, fact: "service.start.new",
			want: exactly("0"), says: "0",
		},
	}
}

func taskQuestions() []question {
	return []question{
		{
			id: "5", ask: "Two tasks of one account, one updated: the other runs", op: opTasks, fact: "task.run.other",
			says: "0x00000000 when the password is stored for the account, 0x8007052E when for each task",
		},
		{
			id: "6", ask: "RegisterTask with 0x34 and the new password", op: opTasks, fact: "task.update.right",
			want: exactly("0"), says: "0",
		},
		{
			id: "6", ask: "It runs after that", op: opTasks, fact: "task.run.updated",
			want: exactly("0x00000000"), says: "0x00000000",
		},
		{
			id: "6", ask: "LastRunTime after it", op: opTasks, fact: "task.update.lastRun",
			want: exactly("kept"), says: "kept", unless: notShown,
		},
		{
			id: "6", ask: "The form of the user in its XML", op: opTasks, fact: "task.update.userId",
			want: exactly("kept"), says: "kept", unless: notShown,
		},
		{
			id: "6", ask: "Its security descriptor", op: opTasks, fact: "task.update.descriptor",
			want: exactly("kept"), says: "kept", unless: notShown,
		},
		{
			id: "6", ask: "A task with a registration trigger was not started", op: opTasks, fact: "task.trigger.result",
			want: exactly("0x00041303"), says: "0x00041303: it never ran",
		},
		{
			id: "6", ask: "RegisterTask with a wrong password", op: opTasks, fact: "task.update.wrong",
			want: exactly("0x8007052E"), says: "0x8007052E: it is tried at once",
		},
		{
			id: "6", ask: "Wrong passwords counted by that", op: opTasks, fact: "task.update.wrong.counted",
			want: exactly("1"), says: "1",
		},
	}
}

// notShown is the reason of a question whose thing the machine does not show.
func notShown(value string) string {
	if value == "not shown" {
		return "this machine does not show it"
	}
	return ""
}

func logonQuestions() []question {
	at := func(fact, ask, want, says string) question {
		return question{id: "7", ask: ask, op: opLogons, fact: fact, want: exactly(want), says: says}
	}
	return []question{
		at("logon.5.noright", "LogonUser type 5 without the right to log on as a service", "1385", "1385"),
		at("logon.4.noright", "LogonUser type 4 without the right to log on as a batch job", "1385", "1385"),
		at("logon.noright.counted", "Wrong passwords counted by those two", "0", "0: the password was right"),
		at("logon.3.wrong", "LogonUser type 3 with a wrong password", "1326", "1326"),
		at("logon.wrong.counted", "Wrong passwords counted by that", "1", "1: once, not twice"),
		at("logon.5.granted", "LogonUser type 5 once the right is given", "0", "0"),
		at("logon.4.granted", "LogonUser type 4 once the right is given", "0", "0"),
		at("logon.5.mustchange", "LogonUser type 5 of an account that must change its password", "1907", "1907"),
		{
			id: "7", ask: "LogonUser type 3 of a locked account with the right password", op: opLockout, fact: "logon.3.locked",
			want: exactly("1909"), says: "1909",
		},
		{
			id: "7", ask: "Wrong passwords until it locked", op: opLockout, fact: "lockout.attempts",
			says: "the policy's threshold",
		},
		{
			id: "8", ask: "LogonUser type 5 with the previous password", op: opServices, fact: "logon.5.old",
			want: exactly("1326"), says: "1326",
		},
		{
			id: "8", ask: "Wrong passwords counted by that", op: opServices, fact: "logon.old.counted",
			says: "1, or 0 when the previous password is not counted",
		},
	}
}

func poolQuestions() []question {
	return []question{{
		id: "9", ask: "A commit of nothing but a password recycles the pool's worker", op: opPools, fact: "pool.recycled",
		want: exactly("yes"), says: "yes",
		unless: func(value string) string {
			if value == "no worker" {
				return "no worker process started in the throw-away pool"
			}
			return ""
		},
	}}
}

func logQuestions() []question {
	at := func(fact, ask, enable string) question {
		return question{
			id: "10", ask: ask, op: opEvents, fact: fact, want: regexp.MustCompile(` hits=0$`), says: "hits=0",
			unless: func(value string) string {
				switch {
				case strings.HasPrefix(value, "events=0 "), strings.HasPrefix(value, "files=0 "):
					return "nothing was logged in the last two hours; " + enable + ", then run this again"
				case strings.Contains(value, " control=0 "):
					return "the log holds nothing of this run: " + enable + ", then run this again"
				}
				return ""
			},
		}
	}
	return []question{
		at("log.4104", "Passwords in script block logging (4104)", "turn on PowerShell script block logging"),
		at("log.4103", "Passwords in module logging (4103)", "turn on PowerShell module logging for all modules (*)"),
		at("log.800", "Passwords in the log 'Windows PowerShell' (400, 800)", "turn on PowerShell module logging for all modules (*)"),
		at("log.4688", "Passwords in process creation (4688)", "turn on the audit of process creation with command lines"),
		at("log.system", "Passwords in the log System (7036, 7038, 7041)", "run with --create"),
		at("log.tasks", "Passwords in Task Scheduler's operational log", "enable that log"),
		at("log.transcripts", "Passwords in transcripts", "turn on PowerShell transcription"),
		{
			id: "10", ask: "The digest of the command line in 4688", op: opEvents, fact: "log.4688.sha256",
			want: exactly(powershell.CommandLineSHA256()), says: "what `keyturn help windows-command` prints",
		},
	}
}

func machineQuestions() []question {
	only := func(want, why string) func(string) string {
		return func(value string) string {
			if value != want {
				return why
			}
			return ""
		}
	}
	return []question{
		{id: "11", ask: "State of Defender meanwhile (4 is running)", op: opFacts, fact: "defender.state", says: "4, and no verdict"},
		{
			id: "13", ask: "It works under the FIPS policy", op: opFacts, fact: "policy.fips", want: exactly("1"), says: "1",
			unless: only("1", "the FIPS policy is off on this machine"),
		},
		{
			id: "17", ask: "The machine is a domain controller", op: opFacts, fact: "os.dc", says: "one of those tested should be",
			unless: only("1", "this machine is none"),
		},
		{id: "18", ask: "Language of the system", op: opFacts, fact: "os.culture", says: "German and Hungarian were wanted"},
		{
			id: "19", ask: "The machine is a node of a cluster", op: opFacts, fact: "os.cluster", says: "one of those tested should be",
			unless: only("1", "this machine is none"),
		},
		{
			id: "20", ask: "PowerShell's language mode", op: opFacts, fact: "ps.language", want: exactly("FullLanguage"),
			says: "FullLanguage; Constrained Language ends a run before anything changes",
		},
		{id: "-", ask: "The session has an administrator's token", op: opFacts, fact: "session.elevated", want: exactly("1"), says: "1"},
	}
}

// A gapless question is one that this program cannot ask at all.
type impossible struct{ id, ask, why string }

func impossibles() []impossible {
	return []impossible{
		{"1", "Raw standard input with WINRS_CONSOLEMODE_STDIN TRUE", "Keyturn's transport always says FALSE, as old Windows needs it"},
		{"8", "The grace of old passwords in a domain after a reset", "needs a domain account and a domain controller of its own"},
		{"15", "A delayed start with a load-order group answers 21", "Windows takes the combination only from the registry at boot"},
	}
}
