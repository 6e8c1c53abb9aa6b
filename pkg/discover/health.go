package discover

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"keyturn/pkg/dependency"
	"keyturn/pkg/executor"
	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
)

// A Health is whether one machine can be worked with, check by check.
type Health struct {
	Machine pam.UID
	Title   string
	Address string            // "" when the record names none
	Kind    pam.AuthorityKind // what it is
	Checks  []Check
	Failure error // of the check that failed; nil when none did
}

// Shown is what a machine that is not trusted showed, in the form that its record
// accepts and in the short one that a person compares; "" when it is trusted, or was
// not reached.
func (h Health) Shown() (server, fingerprint string) {
	e, ok := errors.AsType[*remote.Error](h.Failure)
	if !ok || e.Kind != pam.ErrUntrusted {
		return "", ""
	}
	return e.Server, e.Fingerprint
}

// A Check is one thing that was tested, in the order of testing. Fix is what
// helps: a command for that machine, or for this program.
type Check struct {
	Name   CheckName
	Status CheckStatus
	Detail string
	Fix    string
}

// A CheckName names a check.
type CheckName string

// The checks, in order. What comes after a failed one cannot be told.
const (
	CheckRecord     CheckName = "record"             // record and admin say all it takes to connect
	CheckReach      CheckName = "reach"              // something answers
	CheckTrust      CheckName = "trust"              // certificate or host key
	CheckLogIn      CheckName = "log_in"             // one attempt as the admin
	CheckLanguage   CheckName = "language_mode"      // PowerShell runs our script
	CheckRights     CheckName = "rights"             // elevated, or root
	CheckPowerShell CheckName = "powershell"         // version
	CheckSystem     CheckName = "operating_system"   // version
	CheckStorage    CheckName = "credential_storage" // tasks may store passwords
	CheckLockout    CheckName = "lockout"            // failed logons that lock an account
	CheckIIS        CheckName = "iis"
	CheckDomain     CheckName = "domain" // of a directory: which one, and where its PDC emulator is
	CheckCluster    CheckName = "cluster"
)

// A CheckStatus is the outcome of a check.
type CheckStatus string

// The outcomes.
const (
	CheckOK         CheckStatus = "ok"
	CheckWarning    CheckStatus = "warning" // works, with a limit that matters to a rotation
	CheckFailed     CheckStatus = "failed"
	CheckNotChecked CheckStatus = "not_checked"
)

func checksOf(kind pam.AuthorityKind) []CheckName {
	checks := []CheckName{CheckRecord, CheckReach, CheckTrust, CheckLogIn}
	switch kind {
	case pam.AuthorityWindows:
	case pam.AuthorityDirectory:
		return append(checks, CheckDomain, CheckLockout)
	default:
		return append(checks, CheckRights)
	}
	return append(checks, CheckLanguage, CheckRights, CheckPowerShell, CheckSystem, CheckStorage, CheckLockout, CheckIIS, CheckCluster)
}

// Examine tests machines, all at once within the limit, and returns their health
// in the order of machines. Each costs one log-in; on hears of each as it ends,
// by one goroutine at a time.
func (e *Engine) Examine(ctx context.Context, machines []pam.UID, on func(Health)) ([]Health, error) {
	all := make([]Health, len(machines))
	var mu sync.Mutex
	each(e.cfg.Machines, len(machines), func(i int) {
		all[i] = e.examine(ctx, machines[i])
		mu.Lock()
		defer mu.Unlock()
		if ctx.Err() == nil {
			on(all[i])
		}
	})
	return all, ctx.Err()
}

func (e *Engine) examine(ctx context.Context, machine pam.UID) Health {
	m, err := e.cfg.Store.Machine(ctx, machine)
	h := Health{Machine: machine, Title: m.Title, Kind: m.Authority()}
	if err != nil {
		h.fail(m, CheckRecord, err)
		return h
	}
	h.Address = m.Address()
	if h.Kind == pam.AuthorityUnknown {
		h.fail(m, CheckRecord, pam.Errorf(pam.ErrInvalidInput, "machine %q (%s): operating system %q is neither windows nor linux",
			m.Title, m.UID, m.OperatingSystem).WithHint("keyturn record-update -r %s text.operatingSystem=windows", m.UID))
		return h
	}
	res, err := e.cfg.Visitor.AtMachine(ctx, machine, func(at executor.Machine) executor.Request {
		return executor.Ping{Machine: at, Kind: h.Kind}
	})
	if err != nil {
		h.fail(m, failedCheck(err, h.Kind, res.LoggedIn), err)
		return h
	}
	h.reached(m)
	switch h.Kind {
	case pam.AuthorityWindows:
		h.windows(m, res.Facts)
	case pam.AuthorityDirectory:
		h.add(CheckDomain, CheckOK, fmt.Sprintf("%s (%s), PDC emulator %s", res.Domain.DNS, res.Domain.NetBIOS, res.Domain.Controller), "")
		h.lockout(&res.Domain.LockoutThreshold)
	default:
		h.add(CheckRights, CheckOK, "root by "+res.Root, "")
	}
	return h
}

// failedCheck is the check that an error belongs to. What fails after the log-in
// is our script on Windows, and the way to root on Linux.
func failedCheck(err error, kind pam.AuthorityKind, loggedIn bool) CheckName {
	switch {
	case loggedIn && kind == pam.AuthorityWindows:
		return CheckLanguage
	case loggedIn && kind == pam.AuthorityDirectory:
		return CheckDomain
	case loggedIn:
		return CheckRights
	case errors.Is(err, pam.ErrInvalidInput):
		return CheckRecord
	case errors.Is(err, pam.ErrUntrusted):
		return CheckTrust
	case errors.Is(err, pam.ErrAuthFailed), errors.Is(err, pam.ErrPolicy):
		return CheckLogIn
	}
	return CheckReach
}

// fail notes the check that failed; those before it passed, those after it
// cannot be told.
func (h *Health) fail(m pam.Machine, failed CheckName, err error) {
	h.Failure = err
	_, connected := errors.AsType[*remote.Error](err)
	status := CheckOK
	for _, name := range checksOf(h.Kind) {
		switch {
		case name == failed:
			h.add(name, CheckFailed, err.Error(), fixFor(m, name, err))
			status = CheckNotChecked
		case name != CheckRecord && failed == CheckLogIn && !connected: // the admin was refused elsewhere: not even tried
			h.add(name, CheckNotChecked, "", "")
		default:
			h.add(name, status, "", "")
		}
	}
}

func (h *Health) reached(m pam.Machine) {
	h.add(CheckRecord, CheckOK, "", "")
	h.add(CheckReach, CheckOK, m.Address(), "")
	h.add(CheckTrust, CheckOK, trustedBy(m), "")
	h.add(CheckLogIn, CheckOK, "", "")
}

func trustedBy(m pam.Machine) string {
	switch {
	case m.Transport == pam.SSH:
		return "host key"
	case m.ServerPin != "":
		return "pinned certificate"
	case m.CAFile != "":
		return "certificate of " + m.CAFile
	}
	return "certificate of the system's authorities"
}

func (h *Health) add(name CheckName, s CheckStatus, detail, fix string) {
	h.Checks = append(h.Checks, Check{Name: name, Status: s, Detail: detail, Fix: fix})
}

const fullLanguage = "FullLanguage"

// windows judges what a Windows machine said of itself.
func (h *Health) windows(m pam.Machine, f dependency.Facts) {
	if !strings.EqualFold(f.Language, fullLanguage) {
		err := pam.Errorf(pam.ErrPolicy, "machine %q (%s): PowerShell runs in %s, where our script cannot work", m.Title, m.UID, f.Language)
		h.Failure = err
		h.add(CheckLanguage, CheckFailed, f.Language, fixLanguage)
		for _, name := range checksOf(h.Kind)[len(h.Checks):] {
			h.add(name, CheckNotChecked, "", "")
		}
		return
	}
	h.add(CheckLanguage, CheckOK, f.Language, "")
	h.rights(m, f)
	h.versions(f)
	h.policies(f)
	h.add(CheckIIS, CheckOK, present(f.IIS), "")
	if f.Cluster {
		h.add(CheckCluster, CheckWarning, "present: clustered services are updated, and not restarted", fixCluster)
		return
	}
	h.add(CheckCluster, CheckOK, present(f.Cluster), "")
}

//nolint:revive // there is a fact, not a switch
func present(there bool) string {
	if there {
		return "present"
	}
	return "not installed"
}

func (h *Health) rights(m pam.Machine, f dependency.Facts) {
	if f.Elevated {
		h.add(CheckRights, CheckOK, "elevated as "+f.User, "")
		return
	}
	h.Failure = pam.Errorf(pam.ErrPolicy, "machine %q (%s): %s is logged in without an administrator's rights", m.Title, m.UID, f.User)
	domain, _, _ := strings.Cut(f.User, `\`)
	if strings.EqualFold(domain, f.Host) { // a local administrator gets a filtered token over the network
		h.add(CheckRights, CheckFailed, f.User+" is not elevated", fixFilteredToken)
		return
	}
	h.add(CheckRights, CheckFailed, f.User+" is not elevated", `net localgroup Administrators "`+f.User+`" /add`)
}

// minBuild is Windows Server 2016, the oldest that is supported.
const minBuild = 14393

func (h *Health) versions(f dependency.Facts) {
	switch {
	case !atLeast(f.PowerShell, 5, 1):
		h.add(CheckPowerShell, CheckWarning, f.PowerShell+" is older than 5.1", "install Windows Management Framework 5.1")
	default:
		h.add(CheckPowerShell, CheckOK, f.PowerShell, "")
	}
	if build(f.OS) < minBuild {
		h.add(CheckSystem, CheckWarning, f.OS+" is older than Windows Server 2016", "upgrade Windows: nothing older is tested")
		return
	}
	h.add(CheckSystem, CheckOK, f.OS, "")
}

// lowThreshold is up to how many failed logons lock an account so soon that one
// stale copy of a password does it.
const lowThreshold = 3

func (h *Health) policies(f dependency.Facts) {
	if f.StorageDisabled {
		h.add(CheckStorage, CheckWarning, "a policy forbids stored passwords: scheduled tasks cannot be updated", fixStorage)
	} else {
		h.add(CheckStorage, CheckOK, "allowed", "")
	}
	h.lockout(f.LockoutThreshold)
}

// lockout judges how many failed logons lock an account; nil is not known.
func (h *Health) lockout(n *int) {
	switch {
	case n == nil:
		h.add(CheckLockout, CheckWarning, "the lockout threshold could not be read", fixAskLockout)
	case *n == 0:
		h.add(CheckLockout, CheckOK, "accounts are never locked", "")
	case *n <= lowThreshold:
		h.add(CheckLockout, CheckWarning, fmt.Sprintf("%d failed logons lock an account", *n), fixLockout)
	default:
		h.add(CheckLockout, CheckOK, fmt.Sprintf("%d failed logons lock an account", *n), "")
	}
}

// atLeast compares the first two numbers of a version.
func atLeast(version string, major, minor int) bool {
	parts := strings.SplitN(version, ".", 3)
	a, err := strconv.Atoi(parts[0])
	if err != nil || len(parts) < 2 {
		return false
	}
	b, err := strconv.Atoi(parts[1])
	return err == nil && (a > major || a == major && b >= minor)
}

// build is the third number of a Windows version, 0 when there is none.
func build(version string) int {
	parts := strings.Split(version, ".")
	if len(parts) < 3 {
		return 0
	}
	n, err := strconv.Atoi(parts[2])
	if err != nil {
		return 0
	}
	return n
}
