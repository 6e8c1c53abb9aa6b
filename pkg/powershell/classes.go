package powershell

import (
	"maps"
	"slices"

	"keyturn/pkg/pam"
)

// Classes of errors, as Err.Class, Line.Class of a fatal line and the reasons of
// skipped items. They are a promise to scripts: add, never rename.
const (
	ClassTransportHeader    = "transport_header"    // standard input did not begin with a frame
	ClassTransportTruncated = "transport_truncated" // standard input ended early
	ClassTransportCorrupt   = "transport_corrupt"   // the frame's digest does not match
	ClassNotElevated        = "not_elevated"        // the session has no administrator's token
	ClassConstrained        = "constrained_language"
	ClassWrongBitness       = "wrong_bitness" // a 32-bit PowerShell on a 64-bit Windows
	ClassUnknownOp          = "unknown_op"
	ClassLockedByOtherRun   = "locked_by_other_run"
	ClassDeadline           = "deadline"
	ClassUnknown            = "unknown"
	ClassInternal           = "internal"

	ClassRunAsChanged      = "run_as_changed"
	ClassAmbiguous         = "ambiguous_identity"
	ClassManaged           = "managed_account"
	ClassOtherAccount      = "other_account" // a reason: another account of the same name
	ClassKilled            = "killed"        // a reason: its process was ended, because it did not stop
	ClassVirtual           = "virtual_account"
	ClassBuiltin           = "builtin_account"
	ClassNoStoredPassword  = "no_stored_password"
	ClassAccessDenied      = "access_denied"
	ClassNotFound          = "not_found"
	ClassMarkedForDelete   = "marked_for_delete"
	ClassDatabaseLocked    = "scm_db_locked"
	ClassInvalidParameter  = "invalid_parameter"
	ClassInvalidAccount    = "invalid_account"
	ClassStorageDisabled   = "credential_storage_disabled"
	ClassTaskXMLInvalid    = "task_xml_invalid"
	ClassTaskServiceDown   = "task_service_down"
	ClassIISUnavailable    = "iis_unavailable"
	ClassIISKeyAccess      = "iis_key_access"
	ClassIISConfigConflict = "iis_config_conflict"
	ClassSharedConfig      = "shared_config"

	// Classes of what is reported and never touched.
	ClassUnmanagedProcess = "unmanaged_process"
	ClassCOMPlus          = "com_plus"
	ClassDCOM             = "dcom"
	ClassElsewhere        = "seen_elsewhere"

	ClassRejected          = "credential_rejected"
	ClassRightMissing      = "right_missing"
	ClassAccountLocked     = "account_locked"
	ClassAccountDisabled   = "account_disabled"
	ClassAccountExpired    = "account_expired"
	ClassAccountExpiredPW  = "account_expired_pw"
	ClassAccountRestricted = "account_restricted"
	ClassNoLogonServer     = "no_logon_server"
	ClassPasswordPolicy    = "password_policy"
	ClassResetNotAllowed   = "reset_not_allowed"

	ClassDisabled          = "not_restartable_disabled"
	ClassNotStoppable      = "not_stoppable"
	ClassTransitioning     = "service_transitioning"
	ClassDependentsBlocked = "dependents_blocked"
	ClassStopTimeout       = "stop_timeout"
	ClassStartTimeout      = "start_timeout"
	ClassServiceLogon      = "service_logon_failed"
	ClassDependencyFailed  = "dependency_failed"
	ClassDied              = "died_after_start"
	ClassFlapping          = "flapping"
	ClassAccountDiffers    = "account_differs_in_process"
	ClassClustered         = "clustered"
	ClassStateChanged      = "state_changed" // a reason: no longer as the plan saw it
	ClassAlreadyCurrent    = "already_current"
	ClassAlreadyRunning    = "already_running"
	ClassNotRunning        = "not_running"
)

type class struct {
	kind    pam.Kind
	explain string
}

// classes maps every class to the kind of failure that it is and to a sentence
// for people: what happened, and what to do on Windows.
var classes = map[string]class{
	ClassTransportHeader: {
		pam.ErrIO,
		"The machine did not get the request whole; nothing ran there. Try again.",
	},
	ClassTransportTruncated: {
		pam.ErrIO,
		"The request was cut off on its way; nothing ran on the machine. Try again.",
	},
	ClassTransportCorrupt: {
		pam.ErrIO,
		"The request was damaged on its way; nothing ran on the machine. Try again.",
	},
	ClassNotElevated: {
		pam.ErrPolicy,
		"The log-in has no administrator's rights on the machine. Use an account of its Administrators " +
			"group; for a local one other than the built-in Administrator set LocalAccountTokenFilterPolicy to 1 under " +
			`HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Policies\System.`,
	},
	ClassConstrained: {
		pam.ErrPolicy,
		"PowerShell runs in Constrained Language there (AppLocker or WDAC). Allow the published command line " +
			"by its digest, or exempt the account that logs in.",
	},
	ClassWrongBitness: {
		pam.ErrPolicy,
		"A 32-bit PowerShell answered on a 64-bit Windows. Check the SSH DefaultShell and the WinRM endpoint.",
	},
	ClassUnknownOp: {
		pam.ErrInternal,
		"The script does not know what it was asked to do. Please report this.",
	},
	ClassLockedByOtherRun: {
		pam.ErrConflict,
		"Another run works on this account on the machine. Wait for it, then try again.",
	},
	ClassDeadline: {
		pam.ErrUnreachable,
		"The time for this machine was over before the item's turn came. Run it again.",
	},
	ClassUnknown: {
		pam.ErrInternal,
		"Windows answered with an error that is not known here; its number is shown.",
	},
	ClassInternal: {
		pam.ErrInternal,
		"The script failed on the machine in a way that it did not expect. Please report this.",
	},
	ClassRunAsChanged: {
		pam.ErrDrift,
		"It runs as somebody else now than when it was looked at. It was left alone; look again.",
	},
	ClassAmbiguous: {
		pam.ErrAmbiguous,
		"Its run-as name could not be resolved and only resembles the account. It is never touched; give it a " +
			"name that Windows can resolve.",
	},
	ClassManaged: {
		pam.ErrInvalidInput,
		"Windows itself changes the password of a managed service account. Nothing to do.",
	},
	ClassOtherAccount: {
		pam.ErrInvalidInput,
		"It runs as another account that only has the same name, a local one say. Nothing to do.",
	},
	ClassKilled: {
		pam.ErrConflict,
		"The service did not stop in time; its process was ended, as the plan allowed, and the service started.",
	},
	ClassVirtual: {pam.ErrInvalidInput, "A virtual account has no password. Nothing to do."},
	ClassBuiltin: {pam.ErrInvalidInput, "A built-in account has no password. Nothing to do."},
	ClassNoStoredPassword: {
		pam.ErrInvalidInput,
		"The task runs as the account but stores no password. Nothing to do.",
	},
	ClassAccessDenied: {
		pam.ErrPolicy,
		"Windows denied access to it. Check its permissions (sc sdshow, the task's security, IIS).",
	},
	ClassNotFound: {pam.ErrNotFound, "It is not there any more. Look again."},
	ClassMarkedForDelete: {
		pam.ErrConflict,
		"The service is being deleted. Close every Services window, or restart the machine.",
	},
	ClassDatabaseLocked: {
		pam.ErrConflict,
		"The database of services is locked by another program. Try again.",
	},
	ClassInvalidParameter: {
		pam.ErrInvalidInput,
		"Windows refused the service's settings: a delayed start with a load-order group, or an interactive " +
			"service.",
	},
	ClassInvalidAccount: {
		pam.ErrInvalidInput,
		"Windows does not accept the account for it. Check that the account exists and may log on as a " +
			"service.",
	},
	ClassStorageDisabled: {
		pam.ErrPolicy,
		"The policy 'Do not allow storage of passwords and credentials' keeps tasks from storing a password.",
	},
	ClassTaskXMLInvalid: {
		pam.ErrInvalidInput,
		"Task Scheduler does not accept the task's own definition any more. Open and save it by hand.",
	},
	ClassTaskServiceDown: {
		pam.ErrUnreachable,
		"The Task Scheduler service does not answer. Start it, then run this again.",
	},
	ClassIISUnavailable: {
		pam.ErrUnreachable,
		"IIS could not be read. Check that its configuration opens in IIS Manager.",
	},
	ClassIISKeyAccess: {
		pam.ErrPolicy,
		"IIS's encryption key cannot be used by this log-in. Grant it access to the iisWasKey container.",
	},
	ClassIISConfigConflict: {
		pam.ErrConflict,
		"IIS's configuration was changed by somebody else at the same time. Try again.",
	},
	ClassSharedConfig: {
		pam.ErrPolicy,
		"The machine takes its IIS configuration from a folder that other machines read too: it was left alone. Set " +
			"the password once, in IIS Manager on the machine that owns the configuration.",
	},
	ClassUnmanagedProcess: {
		pam.ErrPolicy,
		"A process runs as the account and nothing that was updated explains it. It keeps the old password until " +
			"somebody restarts it.",
	},
	ClassCOMPlus: {
		pam.ErrPolicy,
		"A COM+ application runs as the account. Set its password in Component Services: it is not changed here.",
	},
	ClassDCOM: {
		pam.ErrPolicy,
		"A DCOM server runs as the account. Set its password with dcomcnfg: it is not changed here.",
	},
	ClassElsewhere: {
		pam.ErrPolicy,
		"The account's password is stored in a place that is not changed here. Set it there.",
	},
	ClassRejected: {
		pam.ErrAuthFailed,
		"The machine does not accept the new password (yet): nothing more was tried, so that the account is " +
			"not locked. Wait for directory replication, then run it again.",
	},
	ClassRightMissing: {
		pam.ErrPolicy,
		"The password is right, but the account lacks the right 'Log on as a service' (services) or 'Log on " +
			"as a batch job' (tasks, pools) on the machine. Grant it in secpol.msc or by group policy, or " +
			"let a rotation do it: --grant-rights.",
	},
	ClassAccountLocked: {
		pam.ErrPolicy,
		"The account is locked out. Unlock it, and find what still uses the old password.",
	},
	ClassAccountDisabled: {pam.ErrPolicy, "The account is disabled. Enable it first."},
	ClassAccountExpired:  {pam.ErrPolicy, "The account has expired. Extend it first."},
	ClassAccountExpiredPW: {
		pam.ErrPolicy,
		"The password has expired or must be changed at the next logon. Clear that flag first.",
	},
	ClassAccountRestricted: {
		pam.ErrPolicy,
		"Logon hours, workstations or another restriction keep the account from logging on to the machine.",
	},
	ClassNoLogonServer: {
		pam.ErrUnreachable,
		"The machine reaches no domain controller. Check its network and its trust with the domain.",
	},
	ClassPasswordPolicy: {
		pam.ErrPolicy,
		"The password policy refused the password: length, complexity, history or minimum age.",
	},
	ClassResetNotAllowed: {
		pam.ErrPolicy,
		"The account's password is not known, and a reset makes its saved certificates and encrypted files " +
			"unreadable. Allow a reset explicitly.",
	},
	ClassDisabled: {
		pam.ErrPolicy,
		"The service is disabled: once stopped it could not be started again. It was updated and left " +
			"running.",
	},
	ClassNotStoppable: {
		pam.ErrPolicy,
		"The service does not accept a stop. It was updated; restart the machine when that suits.",
	},
	ClassTransitioning: {
		pam.ErrConflict,
		"The service is starting or stopping and did not get done. It was updated and not touched; see why it " +
			"hangs, then restart it.",
	},
	ClassDependentsBlocked: {
		pam.ErrConflict,
		"Services that depend on it run and could not be stopped. Stop them first.",
	},
	ClassStopTimeout: {
		pam.ErrConflict,
		"The service did not stop in time. It holds the new password and uses it from its next start.",
	},
	ClassStartTimeout: {
		pam.ErrConflict,
		"The service did not start in time. See its own log, then start it.",
	},
	ClassServiceLogon: {
		pam.ErrAuthFailed,
		"It did not come up: a service reported a failed log-on, or a pool's new worker ended at once, which may have " +
			"another cause. It was tried once only. For a service see System events 7038 and 7041, and check the " +
			"right 'Log on as a service'; for a pool see the WAS events 5021, 5057 and 5059 there, and check 'Log on as " +
			"a batch job'.",
	},
	ClassDependencyFailed: {
		pam.ErrConflict,
		"A service that it needs did not start. Start that one first.",
	},
	ClassDied: {
		pam.ErrConflict,
		"The service stopped again right after its start. See System events 7031 and 7034 and its own log.",
	},
	ClassFlapping: {
		pam.ErrConflict,
		"The service was restarted again by its failure actions. See why it stops.",
	},
	ClassAccountDiffers: {
		pam.ErrConflict,
		"Another service in the same process runs as another account. Restart the machine when that suits.",
	},
	ClassClustered: {
		pam.ErrPolicy,
		"The service belongs to a cluster: it was updated here. Move or restart it with Failover Cluster " +
			"Manager.",
	},
	ClassStateChanged: {
		pam.ErrDrift,
		"It is no longer in the state that was planned with. It was left alone.",
	},
	ClassAlreadyCurrent: {"", "It has the password already."},
	ClassAlreadyRunning: {"", "It runs already."},
	ClassNotRunning:     {"", "It does not run, and takes the new password when it starts."},
}

// Explain says in words for people what a class means and what to do on
// Windows. An unknown class gets the sentence of [ClassUnknown].
func Explain(name string) string { return lookUp(name).explain }

// KindOf is the kind of failure that a class is; "" for a class that is none.
func KindOf(name string) pam.Kind { return lookUp(name).kind }

// Classes are the names of all classes, sorted.
func Classes() []string { return slices.Sorted(maps.Keys(classes)) }

func lookUp(name string) class {
	if c, ok := classes[name]; ok {
		return c
	}
	return classes[ClassUnknown]
}

func knownClass(name string) bool {
	_, ok := classes[name]
	return ok
}
