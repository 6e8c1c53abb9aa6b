package directory_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"keyturn/pkg/lab/samba"
	"keyturn/pkg/needtest"
	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
)

// dc is the one real domain controller of all tests of the package.
var (
	dc     *samba.Controller
	dcOnce sync.Once
	errDC  error
)

func closeSamba() error {
	if dc == nil {
		return nil
	}
	return dc.Close()
}

func sambaController(t *testing.T) controller {
	t.Helper()
	if what := samba.Missing(); what != "" {
		needtest.Missing(t, what)
	}
	dcOnce.Do(func() { dc, errDC = samba.Start(context.Background(), time.Now()) })
	if errDC != nil {
		t.Fatal(errDC)
	}
	c := controller{
		ca: dc.PEM(), pin: remote.Pin(dc.Certificate()), netbios: samba.NetBIOS, dns: samba.DNS, machine: samba.Machine,
		account: func(t *testing.T, state, password string) string {
			t.Helper()
			sam, err := dc.AddUser(samba.State(state), password)
			if err != nil {
				t.Fatal(err)
			}
			return sam
		},
	}
	c.target = remote.Target{
		Endpoint: remote.Endpoint{Transport: pam.LDAPS, Host: dc.Address(), Port: samba.PortLDAPS, Pin: c.pin},
		User:     samba.Administrator, Password: word(samba.Password),
	}
	c.plain = c.target
	c.plain.Transport, c.plain.Port = pam.StartTLS, samba.PortLDAP
	c.helper = c.target
	c.helper.User, c.helper.Password = c.account(t, "plain", first), word(first)
	return c
}
