package dependency

import (
	"errors"
	"fmt"
	"slices"

	"keyturn/pkg/pam"
	"keyturn/pkg/powershell"
)

// Types of a logon, as LogonUserW numbers them.
const (
	logonNetwork = 3
	logonBatch   = 4
	logonService = 5
)

const maxProofs = 8

// Windows' codes of a refused logon.
const (
	codeRejected     = 1326
	codeRightMissing = 1385
	codeLocked       = 1909
)

// proofs reads the logons. Their codes decide: what the machine concludes from
// one is not asked.
func proofs(lines []powershell.Line) []Proof {
	all := []Proof{}
	for _, line := range lines[:min(len(lines), maxProofs)] {
		all = append(all, Proof{Type: line.Type, Code: line.Code, PasswordOK: accepted(line.Code), Granted: line.Code == 0})
	}
	return all
}

// accepted reports whether a logon's code says that the password is right: it
// was granted, or refused for another reason that Windows gives only then.
func accepted(code int) bool {
	switch code {
	case 0, codeRightMissing, 1327, 1328, 1329:
		return true
	}
	return false
}

// rejected reports whether the machine said that the password is wrong.
func rejected(all []Proof) bool {
	return slices.ContainsFunc(all, func(p Proof) bool { return p.Code == codeRejected })
}

// LogonClass is the error class of a logon's code.
func LogonClass(code int) string {
	switch code {
	case codeRejected:
		return powershell.ClassRejected
	case codeRightMissing:
		return powershell.ClassRightMissing
	case 1327, 1328, 1329:
		return powershell.ClassAccountRestricted
	case 1330, 1907:
		return powershell.ClassAccountExpiredPW
	case 1331:
		return powershell.ClassAccountDisabled
	case 1793:
		return powershell.ClassAccountExpired
	case codeLocked:
		return powershell.ClassAccountLocked
	case 1311, 1355, 1787, 1789:
		return powershell.ClassNoLogonServer
	default:
		return powershell.ClassUnknown
	}
}

// holdBack marks what would not come up again: a logon of its type was refused,
// although the password is right. It takes the password and keeps running. A
// service is not stopped without a granted proof of its own.
func holdBack(items []Item, all []Proof) {
	for n, i := range items {
		if !i.Target {
			continue
		}
		at := lastProof(all, logonType(i))
		switch {
		case at >= 0 && !all[at].Granted:
			items[n].NoRestart = LogonClass(all[at].Code)
		case at < 0 && i.Kind == pam.KindService:
			items[n].NoRestart = ReasonNotProven
		}
	}
}

// lastProof is the index of the last logon of a type: one refused for want of a
// right may have been granted once the right was given. It is -1 without any.
func lastProof(all []Proof, logonType int) int {
	for n, p := range slices.Backward(all) {
		if p.Type == logonType {
			return n
		}
	}
	return -1
}

// granted says which rights a machine has given the account.
func granted(all []Proof) []string {
	var notes []string
	for n, p := range all {
		if p.Code != codeRightMissing || lastProof(all, p.Type) == n {
			continue
		}
		right := "log on as a batch job"
		if p.Type == logonService {
			right = "log on as a service"
		}
		notes = append(notes, "the account was given the right to "+right+" on this machine")
	}
	return notes
}

// logonType is the logon that Windows does to run an item.
func logonType(i Item) int {
	if i.Kind == pam.KindVdir || i.Kind == pam.KindAnonymous {
		return logonNetwork
	}
	if i.Kind == pam.KindService || i.LogonType == "LogonService" {
		return logonService
	}
	return logonBatch
}

// unheard is the status of items that a machine did not answer for.
func unheard(all []Proof, err error) (pam.Status, *pam.ItemError) {
	for _, p := range all {
		if !p.PasswordOK {
			return pam.StatusPending, &pam.ItemError{
				Class: LogonClass(p.Code), Native: int64(p.Code),
				Message: fmt.Sprintf("the machine refused a logon with the new password (code %d): nothing was stored", p.Code),
			}
		}
	}
	if err == nil {
		return pam.StatusUnknown, &pam.ItemError{Class: powershell.ClassUnknown, Message: "the machine did not say what became of it"}
	}
	status := pam.StatusUnknown
	if powershell.NothingRan(err) {
		status = pam.StatusPending
	}
	return status, &pam.ItemError{Class: errorClass(err), Message: text(err.Error())}
}

// errorClass is the class of the script's refusal, or the kind of the failure.
func errorClass(err error) string {
	if fatal, ok := errors.AsType[*powershell.FatalError](err); ok {
		return fatal.Class
	}
	return string(pam.KindOf(err))
}
