package commands

import "strings"

// reasons puts the reasons of items into words for people; JSON and CSV keep
// the codes (pkg/dependency, pkg/powershell). A code without words is shown as
// it is: it is a promise too, and docs/windows.md explains it.
var reasons = map[string]string{
	"inactive":                    "not running: stays so",
	"disabled":                    "disabled: left out of rotations",
	"next_run":                    "takes it when it runs next",
	"no_workers":                  "no worker process: takes it at its next start",
	"dependent":                   "needs a restarted service",
	"dependent_waits":             "restarted when the service it needs is",
	"already_recycled":            "new workers since its configuration changed",
	"already_current":             "has it already",
	"no_stored_password":          "stores no password",
	"recycles_on_change":          "recycles as its configuration changes, unless its settings forbid it",
	"no_restart":                  "runs on with the old one: no restart was wanted",
	"outside_window":              "runs on with the old one: its restart window is shut",
	"too_many_failed":             "held back: too many failed",
	"password_refused":            "held back: machines refused the new password",
	"restarted_since":             "restarted since by somebody else",
	"superseded":                  "a later job's business by now",
	"gone":                        "not there any more: not restarted",
	"policy_never":                "runs on with the old one: never restarted by policy",
	"not_proven":                  "runs on with the old one: no log-on proved that it would start again",
	"not_updated":                 "not restarted: it would start with an old password",
	"would_cut_transport":         "runs on with the old one: it carries our connection",
	"not_restartable_disabled":    "runs on with the old one: disabled, it could not be started again",
	"not_stoppable":               "runs on with the old one: it accepts no stop",
	"clustered":                   "not restarted: the cluster decides where it runs",
	"killed":                      "its process was ended: it did not stop",
	"managed_account":             "a managed account: Windows changes its password",
	"ambiguous_identity":          "cannot tell whom it runs as: left alone",
	"run_as_changed":              "runs as somebody else by now: left alone",
	"at_once":                     "used from the next request on",
	"inherited":                   "inherits it",
	"right_missing":               "the account lacks the right to log on for it",
	"service_transitioning":       "between two states: not restarted while it is",
	"dependents_blocked":          "needed by what cannot be restarted",
	"dependency_failed":           "needs what does not run",
	"account_differs_in_process":  "shares its process with another account's",
	"credential_storage_disabled": "this machine stores no passwords of tasks",
	"task_xml_invalid":            "its definition cannot be read",
	"task_service_down":           "the Task Scheduler does not answer",
	"state_changed":               "changed its state meanwhile: left alone",
	"shared_config":               "keeps the old one: other machines share this configuration",
}

// reasonText is a reason as people read it. What stands behind ": " names the
// service that is the reason.
func reasonText(reason string) string {
	code, due, of := strings.Cut(reason, ": ")
	words, known := reasons[code]
	switch {
	case !known:
		return reason
	case of:
		return words + " (" + due + ")"
	}
	return words
}
