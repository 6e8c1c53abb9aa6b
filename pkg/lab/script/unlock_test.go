package script_test

import (
	"errors"
	"testing"

	"keyturn/pkg/lab/model"
	"keyturn/pkg/powershell"
)

func TestUnlock(t *testing.T) {
	t.Parallel()
	dc := func(s *model.MachineSpec) { s.Name, s.DC = "DC1", true }
	lock := func(w *world) { w.domain.Configure("svc_app", func(u *model.User) { u.Locked = true }) }
	for _, r := range []struct {
		name   string
		spec   func(s *model.MachineSpec)
		bend   func(w *world)
		want   string // of the unlock item
		locked bool
	}{
		{"A06 a locked account is let in again, and nothing else of it changes", dc, lock, "ok", false},
		{"A06 an account that is not locked is left alone", dc, func(*world) {}, "noop", false},
		{"A06 a member does not decide about the domain's accounts", nil, lock, "failed " + powershell.ClassInvalidAccount, true},
		{"A06 a managed account", dc, func(w *world) {
			u, _ := w.domain.User("gapp$")
			w.login, w.sid = `CORP\gapp$`, u.SID
		}, "failed " + powershell.ClassManaged, false},
		{
			"A06 who is no administrator may not", func(s *model.MachineSpec) { dc(s); s.Filtered = true }, lock,
			"fatal " + powershell.ClassNotElevated, true,
		},
	} {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			both(t, r.spec, func(w *world) {
				r.bend(w)
				before, _ := w.domain.User("svc_app")
				a, _, err := w.answer(powershell.Request{Op: powershell.OpUnlock, Target: w.target()})
				if got := toldOf(a, err); got != r.want {
					w.t.Errorf("%s, want %s", got, r.want)
				}
				after, _ := w.domain.User("svc_app")
				if after.Locked != r.locked || after.Changes != before.Changes || after.Disabled != before.Disabled || after.MustChange != before.MustChange {
					w.t.Errorf("%+v was %+v", after, before)
				}
			})
		})
	}
}

// toldOf is what an answer of one item says of it.
func toldOf(a powershell.Answer, err error) string {
	var fatal *powershell.FatalError
	switch {
	case errors.As(err, &fatal):
		return "fatal " + fatal.Class
	case err != nil:
		return err.Error()
	case len(a.Items) != 1 || a.Items[0].Phase != "unlock":
		return "nothing of an unlock"
	case a.Items[0].Err != nil:
		return a.Items[0].Status + " " + a.Items[0].Err.Class
	}
	return a.Items[0].Status
}
