package main

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"keyturn/pkg/lab/samba"
	"keyturn/pkg/needtest"
	"keyturn/pkg/remote"
)

// TestDirectory runs the stories that need a real domain controller.
func TestDirectory(t *testing.T) {
	t.Parallel()
	if what := samba.Missing(); what != "" {
		needtest.Missing(t, what)
	}
	runTargets(t, labKind{}, "directory_*.txtar")
}

// cmdSamba works with a real domain controller:
//
//	samba start              sets AD and AD_PIN, and writes ad.pem and ad.password
//	samba user VAR STATE PW  makes an account; VAR becomes its sam
//	samba logon SAM FILE     the password in FILE logs on, or with ! does not
func cmdSamba(t *testing.T) func(*testscript.TestScript, bool, []string) {
	t.Helper()
	var all perScript[*samba.Controller]
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if len(args) == 0 {
			ts.Fatalf("usage: samba start|user|logon ...")
		}
		c := all.get(ts)
		switch args[0] {
		case "start":
			all.set(ts, startSamba(ts))
		case "user":
			sam, err := c.AddUser(samba.State(args[2]), args[3])
			ts.Check(err)
			ts.Setenv(args[1], sam)
		case "logon":
			ok, err := c.LogOn(args[1], strings.TrimRight(ts.ReadFile(args[2]), "\r\n"))
			ts.Check(err)
			if ok == neg {
				ts.Fatalf("the password in %s logs %s on: %t", args[2], args[1], ok)
			}
		default:
			ts.Fatalf("unknown: samba %s", args[0])
		}
	}
}

func startSamba(ts *testscript.TestScript) *samba.Controller {
	c, err := samba.Start(context.Background(), time.Now())
	ts.Check(err)
	ts.Defer(func() {
		if err := c.Close(); err != nil {
			ts.Logf("close Samba: %v", err)
		}
	})
	ts.Setenv("AD", c.Address())
	ts.Setenv("AD_PIN", remote.Pin(c.Certificate()))
	ts.Check(os.WriteFile(ts.MkAbs("ad.pem"), c.PEM(), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs("ad.password"), []byte(samba.Password), 0o600))
	return c
}
