package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"keyturn/pkg/lab/model"
	"keyturn/pkg/secret"
)

// Files of a lab's folder.
const (
	DescriptionFile     = "lab.json"
	AdminPasswordFile   = "admin.password"
	ServicePasswordFile = "svc_app.password"
	AdminKeyFile        = "admin.key"         // LAB\admin's private key, for SSH
	CertificateFile     = "administrator.pem" // a client certificate with its key, for WinRM: the servers' own Administrator
	controlSocket       = "control.sock"
)

// A Description is lab.json: what one must know to reach the machines. It holds
// no password.
type Description struct {
	Simulation bool                 `json:"simulation"` // always true
	Domain     string               `json:"domain"`
	DomainDNS  string               `json:"domain_dns"`
	Admin      string               `json:"admin"`   // login; the password is in admin.password
	Service    string               `json:"service"` // login; the password is in svc_app.password
	Control    string               `json:"control"` // socket of the running lab
	Machines   []MachineDescription `json:"machines"`
}

// A MachineDescription says where a machine is and how it proves itself.
type MachineDescription struct {
	Name       string `json:"name"`
	Host       string `json:"host"`
	Port       int    `json:"port"`
	Pin        string `json:"pin"` // "sha256:HEX" of the WinRM certificate
	SSHPort    int    `json:"ssh_port"`
	SSHHostKey string `json:"ssh_host_key"`         // "ssh-ed25519 AAAA..."
	SSHShell   string `json:"ssh_shell"`            // the default shell: cmd, powershell, bash
	LDAPSPort  int    `json:"ldaps_port,omitempty"` // of a domain controller; it shows the same certificate
}

// Describe describes the lab.
func (f *Fleet) Describe() (Description, error) {
	d := Description{
		Simulation: true, Domain: model.PracticeDomain, DomainDNS: model.PracticeDNS,
		Admin: model.PracticeAdmin, Service: model.PracticeService, Control: f.control,
	}
	for _, m := range f.machines {
		host, port, err := splitAddress(m.Front.Address())
		if err != nil {
			return Description{}, fmt.Errorf("address of %s: %w", m.Name(), err)
		}
		_, sshPort, err := splitAddress(m.SSH.Address())
		if err != nil {
			return Description{}, fmt.Errorf("address of %s: %w", m.Name(), err)
		}
		of := MachineDescription{
			Name: m.Name(), Host: host, Port: port, Pin: m.Front.Pin(),
			SSHPort: sshPort, SSHHostKey: m.SSH.HostKey(), SSHShell: string(m.SSH.Shell()),
		}
		if m.LDAP != nil {
			if _, of.LDAPSPort, err = splitAddress(m.LDAP.Address()); err != nil {
				return Description{}, fmt.Errorf("address of %s: %w", m.Name(), err)
			}
		}
		d.Machines = append(d.Machines, of)
	}
	return d, nil
}

func splitAddress(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	port, err = strconv.Atoi(text)
	return host, port, err
}

// describe writes the files that people and programs start from.
func (f *Fleet) describe() error {
	d, err := f.Describe()
	if err != nil {
		return err
	}
	b, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return fmt.Errorf("describe the lab: %w", err)
	}
	return errors.Join(
		f.write(DescriptionFile, append(b, '\n')),
		f.writeSecret(AdminPasswordFile, f.Model.Admin),
		f.writeSecret(ServicePasswordFile, f.Model.Service),
		f.writeSecret(AdminKeyFile, f.credentials.key),
		f.writeSecret(CertificateFile, f.credentials.pem),
	)
}

// writeSecret writes a practice password or key and nothing else: no line end
// that could become part of it.
func (f *Fleet) writeSecret(name string, v secret.Value) error {
	return f.write(name, v.Reveal())
}

// write replaces a file as a whole, readable by its owner only.
func (f *Fleet) write(name string, b []byte) error {
	temporary, err := os.CreateTemp(f.dir, name+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	_, err = temporary.Write(b)
	err = errors.Join(err, temporary.Close())
	if err == nil {
		err = os.Rename(temporary.Name(), filepath.Join(f.dir, name))
	}
	if err != nil {
		_ = os.Remove(temporary.Name())
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// ReadDescription reads lab.json of a lab's folder.
func ReadDescription(dir string) (Description, error) {
	b, err := os.ReadFile(filepath.Join(dir, DescriptionFile)) //nolint:gosec // the folder its owner names
	if err != nil {
		return Description{}, fmt.Errorf("read the lab's description: %w", err)
	}
	var d Description
	if err := json.Unmarshal(b, &d); err != nil {
		return Description{}, fmt.Errorf("read the lab's description: %w", err)
	}
	return d, nil
}
