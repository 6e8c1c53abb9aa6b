package pam

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

// A Transport is a way into a machine.
type Transport string

// The transports.
const (
	WinRM Transport = "winrm"
	SSH   Transport = "ssh"
	// Into a directory: TLS from the first byte, or begun on the port of plain
	// LDAP. Nothing is ever sent without.
	LDAPS    Transport = "ldaps"
	StartTLS Transport = "starttls"
)

// LDAP reports whether t leads into a directory, where no command can be run.
func (t Transport) LDAP() bool { return t == LDAPS || t == StartTLS }

// Default ports: WinRM over TLS, SSH, and LDAP.
const (
	PortWinRM = 5986
	PortSSH   = 22
	PortLDAPS = 636
	PortLDAP  = 389
)

// A Machine is a pamMachine record read as something to connect to.
type Machine struct {
	UID             UID       `json:"uid"`
	Title           string    `json:"title"`
	OperatingSystem string    `json:"operating_system"` // as typed; compare with IsWindows
	Host            string    `json:"host"`
	Port            int       `json:"port"`
	Transport       Transport `json:"transport"`
	ServerPin       string    `json:"server_pin,omitempty"` // "sha256:HEX" of the certificate's DER
	CAFile          string    `json:"ca_file,omitempty"`
	HostKey         string    `json:"host_key,omitempty"` // "ssh-ed25519 AAAA..."

	noun string
}

// IsWindows reports whether the operating system field says windows, in any case.
func (m Machine) IsWindows() bool {
	return SystemAuthority(m.OperatingSystem) == AuthorityWindows
}

// Noun is what the record is called in messages: machine or directory.
func (m Machine) Noun() string {
	if m.noun == "" {
		return "machine"
	}
	return m.noun
}

// Authority is what decides the passwords that are changed there; unknown when
// the operating system is none of ours.
func (m Machine) Authority() AuthorityKind {
	if m.noun == nounDirectory {
		return AuthorityDirectory
	}
	return SystemAuthority(m.OperatingSystem)
}

// SystemAuthority is what decides the passwords of a machine whose record names
// that operating system, in any case.
func SystemAuthority(system string) AuthorityKind {
	switch strings.ToLower(strings.TrimSpace(system)) {
	case "windows":
		return AuthorityWindows
	case "linux":
		return AuthorityLinux
	}
	return AuthorityUnknown
}

const nounDirectory = "directory"

// MachineOf reads the connection facts of a pamMachine (or pamDirectory)
// record: pamHostname, text.operatingSystem and the custom fields transport,
// serverPin, caFile and hostKey. Without transport, port 22 is SSH and all else
// WinRM for Windows, SSH for others; without a port it is 5986 or 22. A directory
// is reached by LDAPS at port 636; at port 389, or where checkbox.useSSL is
// false, by StartTLS. The error is ErrInvalidInput and names the record and field.
func MachineOf(r Record) (Machine, error) {
	m := Machine{
		UID: r.UID, Title: r.Title,
		OperatingSystem: r.Text("text", "operatingSystem"),
		ServerPin:       r.Text("text", "serverPin"),
		CAFile:          r.Text("text", "caFile"),
		HostKey:         r.Text("text", "hostKey"),
		Transport:       Transport(strings.ToLower(r.Text("text", "transport"))),
	}
	if r.Type == TypeDirectory {
		m.noun = nounDirectory
	}
	host := r.Field("pamHostname", "")
	if host == nil || host.Parts["hostName"] == "" {
		return m, m.unusable("pamHostname=HOST:PORT", "there is no pamHostname")
	}
	if m.ServerPin != "" && !isPin(m.ServerPin) {
		return m, m.unusable("c.text.serverPin=sha256:HEX", "serverPin is not sha256: and 64 hexadecimal digits")
	}
	m.Host = host.Parts["hostName"]
	if p := host.Parts["port"]; p != "" {
		n, err := strconv.Atoi(p)
		if err != nil || n < 1 || n > 65535 {
			return m, m.unusable("pamHostname="+m.Host+":PORT", fmt.Sprintf("port %q is not a number from 1 to 65535", p))
		}
		m.Port = n
	}
	if r.Type == TypeDirectory {
		return m, m.fillDirectory(r.Text("directoryType", ""), r.Text("checkbox", "useSSL"))
	}
	return m, m.fillTransport()
}

// ActiveDirectory is the directoryType of the directories that are supported; an
// empty one means it too.
const ActiveDirectory = "active_directory"

func (m *Machine) fillDirectory(kind, useSSL string) error {
	if kind = strings.ToLower(strings.TrimSpace(kind)); kind != "" && kind != ActiveDirectory {
		return m.unusable("directoryType="+ActiveDirectory, fmt.Sprintf("passwords in a directory of type %q cannot be rotated", kind))
	}
	switch m.Transport {
	case "":
		m.Transport = LDAPS
		if m.Port == PortLDAP || strings.EqualFold(useSSL, "false") {
			m.Transport = StartTLS
		}
	case LDAPS, StartTLS:
	default:
		return m.unusable("c.text.transport=ldaps", fmt.Sprintf("transport %q of a directory is neither ldaps nor starttls", m.Transport))
	}
	if m.Port == 0 {
		m.Port = PortLDAPS
		if m.Transport == StartTLS {
			m.Port = PortLDAP
		}
	}
	return nil
}

// isPin reports whether s has the form of the SHA-256 of a certificate's DER.
func isPin(s string) bool {
	kind, digest, ok := strings.Cut(strings.ToLower(s), ":")
	return ok && kind == "sha256" && len(digest) == 64 && only(digest, isHexByte)
}

func isHexByte(b byte) bool { return isDigit(b) || b >= 'a' && b <= 'f' }

// unusable says which field is wrong, and what sets it; a record that is not
// saved yet has no UID to name.
func (m *Machine) unusable(field, why string) error {
	if m.UID == "" {
		return Errorf(ErrInvalidInput, "%s %q: %s; nothing was saved", m.Noun(), m.Title, why).WithHint("%s", field)
	}
	return Errorf(ErrInvalidInput, "%s %q (%s): %s", m.Noun(), m.Title, m.UID, why).WithHint("keyturn record-update -r %s %s", m.UID, field)
}

func (m *Machine) fillTransport() error {
	switch m.Transport {
	case "":
		m.Transport = SSH
		if m.IsWindows() && m.Port != PortSSH {
			m.Transport = WinRM
		}
		if !m.IsWindows() && m.Port == PortWinRM {
			m.Transport = WinRM
		}
	case WinRM, SSH:
	default:
		return m.unusable("c.text.transport=winrm", fmt.Sprintf("transport %q is neither winrm nor ssh", m.Transport))
	}
	if m.Port == 0 {
		m.Port = PortSSH
		if m.Transport == WinRM {
			m.Port = PortWinRM
		}
	}
	return nil
}

// Address is host:port, as dialled and as shown.
func (m Machine) Address() string { return net.JoinHostPort(m.Host, strconv.Itoa(m.Port)) }
