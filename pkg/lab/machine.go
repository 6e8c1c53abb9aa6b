package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"keyturn/pkg/lab/ldapd"
	"keyturn/pkg/lab/model"
	"keyturn/pkg/lab/sshd"
	"keyturn/pkg/lab/winrmd"
)

// A Machine is one practice machine: what it is, and the services through which
// it is reached, WinRM and SSH.
type Machine struct {
	Model *model.Machine
	Front *winrmd.Server
	SSH   *sshd.Server
	LDAP  *ldapd.Server // of a domain controller, else nil
	dir   string
	host  *host
}

// Name is the machine's name.
func (m *Machine) Name() string { return m.Model.Name() }

// Dir is the machine's folder; ProgramData is in it.
func (m *Machine) Dir() string { return m.dir }

// programData is what %ProgramData% is on the machine.
func programData(dir string) string { return filepath.Join(dir, "ProgramData") }

func (f *Fleet) startMachine(ctx context.Context, m *model.Machine, o Options, run scriptRunner) (*Machine, error) {
	dir := filepath.Join(f.dir, "machines", m.Name())
	if err := os.MkdirAll(programData(dir), 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of %s: %w", m.Name(), err)
	}
	h := &host{machine: m, dir: dir, run: run, credentials: f.credentials}
	if o.Engine != "" {
		socket, err := f.serveModel(ctx, m, dir, o)
		if err != nil {
			return nil, err
		}
		h.socket = socket
	}
	machine := &Machine{Model: m, dir: dir, host: h}
	if err := machine.serve(ctx, f, o); err != nil {
		return nil, errors.Join(err, machine.close())
	}
	m.Hook(h.happened)
	return machine, nil
}

// serve starts the machine's services, all with one certificate.
func (m *Machine) serve(ctx context.Context, f *Fleet, o Options) error {
	cert, err := winrmd.SelfSigned(m.Name(), o.Now(), o.Random)
	if err != nil {
		return fmt.Errorf("certificate of %s: %w", m.Name(), err)
	}
	m.Front, err = winrmd.Start(winrmd.Options{
		Host: m.host, Name: m.Name(), Domain: model.PracticeDomain, DNSDomain: model.PracticeDNS, Now: o.Now, Logger: o.Logger,
		Certificate: &cert,
	})
	if err != nil {
		return err
	}
	m.SSH, err = sshd.Start(sshd.Options{ //nolint:contextcheck // it lives until Close
		Host: sshHost{m.host}, Name: m.Name(), Shell: o.Shell, Profile: sshProfile, Logger: o.Logger,
	})
	if err != nil {
		return err
	}
	m.host.front, m.host.ssh = m.Front, m.SSH
	if m.Model == f.Model.DC {
		m.LDAP, err = ldapd.Start(ctx, ldapd.Options{
			Domain: f.Model.Domain, Certificate: cert, Now: o.Now, MayReset: m.host.administratorSID,
		})
	}
	return err
}

// setDown takes the machine off the network, or brings it back.
func (m *Machine) setDown(down bool) error {
	if m.LDAP != nil {
		m.LDAP.SetDown(down)
	}
	return errors.Join(m.Front.SetDown(down), m.SSH.SetDown(down))
}

// close ends the machine's services.
func (m *Machine) close() error {
	var errs []error
	if m.LDAP != nil {
		errs = append(errs, m.LDAP.Close())
	}
	if m.SSH != nil {
		errs = append(errs, m.SSH.Close())
	}
	if m.Front != nil {
		errs = append(errs, m.Front.Close())
	}
	return errors.Join(errs...)
}

// KillAfterNextStop kills every command on the machine right after the next
// service has stopped: the remote shell dies between stop and start.
func (m *Machine) KillAfterNextStop() { m.host.armed.Store(true) }

// CutAfterNextStop cuts every connection to the machine right after the next
// service has stopped. The commands go on, and nobody hears them.
func (m *Machine) CutAfterNextStop() { m.host.armedCut.Store(true) }

// Kill kills every command on the machine now.
func (m *Machine) Kill() { m.host.kill() }
