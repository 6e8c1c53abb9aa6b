package job

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"keyturn/pkg/dependency"
	"keyturn/pkg/pam"
	"keyturn/pkg/powershell"
)

// unproven ends, as failed, what took the new password and would not come up with
// it: the machine refused the log-on that Windows does for such items although the
// password is right. A job is finished when every item is confirmed, and these are
// not; they keep running, and a resume proves them again. A disabled service is
// started by nobody, with or without a log-on.
func (r *run) unproven(ctx context.Context, s *site, asked []dependency.Item, proofs []dependency.Proof) {
	seen := s.seen()
	for _, t := range asked {
		key := s.key(t.Kind, t.Name)
		class := seen[key].NoRestart
		i, ok := r.steps.get(key)
		if !ok || !i.Updated || !refusesLogon(class) || disabled(seen[key]) {
			continue
		}
		i.Phase, i.Status = pam.PhaseUpdate, pam.StatusFailed
		i.Error = &pam.ItemError{
			Class: class, Native: codeOf(class, proofs),
			Message: fmt.Sprintf("it has the new password, and Windows would not log the account on for it: %s", nextTime(seen[key])),
		}
		r.steps.put(ctx, i, nil)
	}
}

// refusesLogon reports whether a reason not to restart something is a log-on that
// was refused although the password is right.
func refusesLogon(reason string) bool {
	return slices.Contains([]string{powershell.ClassRightMissing, powershell.ClassAccountRestricted}, reason)
}

func disabled(i dependency.Item) bool {
	return i.Kind == pam.KindService && strings.EqualFold(i.StartMode, "Disabled")
}

func codeOf(class string, proofs []dependency.Proof) int64 {
	for _, p := range slices.Backward(proofs) {
		if !p.Granted && dependency.LogonClass(p.Code) == class {
			return int64(p.Code)
		}
	}
	return 0
}

// nextTime says what becomes of an item that cannot log on.
func nextTime(i dependency.Item) string {
	switch {
	case i.Kind == pam.KindTask:
		return "it will not run"
	case i.Kind == pam.KindService && running(i):
		return "it runs on, and will not start again"
	case i.Kind == pam.KindService:
		return "it will not start"
	}
	return "it fails when it is needed next"
}

// isUnproven reports whether a former run left an item for want of a log-on.
func isUnproven(i pam.Item) bool {
	return i.Updated && i.Phase == pam.PhaseUpdate && i.Error != nil && refusesLogon(i.Error.Class)
}
