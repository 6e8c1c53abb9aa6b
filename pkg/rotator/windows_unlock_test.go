package rotator_test

import (
	"errors"
	"strings"
	"testing"

	"keyturn/pkg/lab/model"
	"keyturn/pkg/pam"
	"keyturn/pkg/powershell"
)

func TestWindowsUnlock(t *testing.T) {
	t.Parallel()
	item := func(status, class string) string {
		more := ""
		if class != "" {
			more = `,"err":{"class":"` + class + `"}`
		}
		return machineWindows + `{"t":"item","phase":"unlock","kind":"account","id":"svc","status":"` + status + `"` + more + `}`
	}
	broken := errors.New("reset by peer")
	for _, row := range []struct {
		name   string
		canned cannedWindows
		want   error // nil: it is unlocked
		text   string
	}{
		{"it was unlocked", cannedWindows{lines: item("ok", "") + byeWindows}, nil, ""},
		{"it was not locked", cannedWindows{lines: item("noop", "") + byeWindows}, nil, ""},
		{"it is denied", cannedWindows{lines: item("failed", "access_denied") + byeWindows}, pam.ErrPolicy, "nothing changed"},
		{"it is not decided there", cannedWindows{lines: item("failed", "invalid_account") + byeWindows}, pam.ErrInvalidInput, "invalid_account"},
		{"the answer says nothing of it", cannedWindows{lines: machineWindows + byeWindows}, pam.ErrIO, "did not say"},
		{"the answer says something unknown of it", cannedWindows{lines: item("pending", "") + byeWindows}, pam.ErrIO, "did not say"},
		{"it was unlocked, and the answer broke off", cannedWindows{lines: item("ok", ""), broken: broken}, broken, ""},
		{"it is denied, and the answer broke off", cannedWindows{lines: item("failed", "access_denied"), broken: broken}, pam.ErrPolicy, "nothing changed"},
		{"nobody answers", cannedWindows{refused: broken}, broken, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			err := newWindows(&row.canned).Unlock(t.Context(), windowsAuthority)
			if !errors.Is(err, row.want) || err != nil && !strings.Contains(err.Error(), row.text) {
				t.Errorf("got %v", err)
			}
			for _, asked := range row.canned.asked {
				if asked.Op != powershell.OpUnlock || len(asked.Secrets) != 0 || len(row.canned.secrets) != 0 {
					t.Errorf("asked %+v", asked)
				}
			}
			if row.canned.dials != 1 || row.canned.refused == nil && row.canned.closed != 1 {
				t.Errorf("%d sessions, %d closed", row.canned.dials, row.canned.closed)
			}
		})
	}
}

func TestLabWindowsUnlock(t *testing.T) {
	t.Parallel()
	l := newLabWindows()
	a := windowsAccount(t, l, "svc")
	for _, locked := range []bool{true, false} {
		l.Local().Configure("svc", func(u *model.User) { u.Locked = locked })
		if err := newWindows(l).Unlock(t.Context(), a); err != nil {
			t.Errorf("locked: %v: %v", locked, err)
		}
		if v, err := newWindows(l).Verify(t.Context(), a, pw(windowsOld)); v != pam.VerdictRight || err != nil {
			t.Errorf("locked: %v: %q, %v", locked, v, err)
		}
	}
}
