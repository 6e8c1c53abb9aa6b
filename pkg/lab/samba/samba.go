// Package samba is a real domain controller of Active Directory for tests: Samba,
// provisioned anew in a folder of its own and serving on a loopback address of
// its own. It needs root and Debian's packages samba, samba-ad-dc,
// samba-ad-provision, samba-dsdb-modules, python3-samba and ldb-tools.
//
// It knows nothing of the product.
package samba

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	_ "embed" // the script that provisions
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/go-ldap/ldap/v3"

	"keyturn/pkg/lab/winrmd"
)

//go:embed provision.py
var provision string

// What every domain has.
const (
	DNS           = "corp.test"
	NetBIOS       = "CORP"
	Administrator = `CORP\Administrator`
	Password      = "Adm1n-Pass!23" // of the Administrator
	Threshold     = 3               // failed log-ons that lock an account
	Machine       = "DC1$"          // the controller's own account

	base = "DC=corp,DC=test"
	host = "dc1"
)

// Ports, at the controller's address.
const (
	PortLDAPS = 636
	PortLDAP  = 389
)

// A Controller is a running domain controller. It is safe for concurrent use.
type Controller struct {
	dir, address string
	cert         tls.Certificate
	process      *exec.Cmd
	ended        chan struct{} // closed when the process is gone
	why          error         // why it ended; to be read after that

	mu       sync.Mutex
	accounts int
}

// needed is what the controller is made of, and the package of Debian it is in.
var needed = map[string]string{
	"samba": "samba", "samba-tool": "samba", "ldbmodify": "ldb-tools", "/usr/share/samba/setup/provision.ldif": "samba-ad-provision",
	"/usr/bin/python3": "python3-samba",
}

// Missing says what keeps a controller from being started here, or "".
func Missing() string {
	if os.Getuid() != 0 {
		return "a domain controller listens at ports below 1024: root is needed"
	}
	for name, from := range needed {
		_, onPath := exec.LookPath(name)
		_, there := os.Stat(name)
		if onPath != nil && there != nil {
			return fmt.Sprintf("Samba is needed: %s of Debian's package %s (also samba-ad-dc, samba-dsdb-modules)", name, from)
		}
	}
	return ""
}

// Start provisions a domain and starts its controller; Close ends it. The folder
// it makes is in the system's folder for temporary files.
func Start(ctx context.Context, now time.Time) (*Controller, error) {
	dir, err := os.MkdirTemp("", "keyturn-ad-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the domain: %w", err)
	}
	const loopbacks = 64 // of 127.64.0.0 and up, one for each process: two checkouts can be tested at once
	pid := os.Getpid()
	c := &Controller{
		dir: dir, ended: make(chan struct{}), address: fmt.Sprintf("127.%d.%d.53", loopbacks+pid>>8%loopbacks, pid%256),
	}
	if err := c.start(ctx, now); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Controller) start(ctx context.Context, now time.Time) error {
	if err := c.configure(now); err != nil {
		return fmt.Errorf("configure Samba: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	from := filepath.Join(c.dir, "base.conf")
	//nolint:gosec // a script of ours, and words of ours
	python := exec.CommandContext(ctx, "/usr/bin/python3", "-c", provision, from, c.dir, strings.ToUpper(DNS), NetBIOS, host, c.address)
	python.Stdin = strings.NewReader(Password)
	if out, err := python.CombinedOutput(); err != nil {
		return fmt.Errorf("provision: %w\n%s", err, out)
	}
	conf := filepath.Join(c.dir, "etc", "smb.conf")
	if err := narrow(conf); err != nil {
		return fmt.Errorf("configure Samba: %w", err)
	}
	policy := exec.CommandContext(ctx, "samba-tool", "domain", "passwordsettings", "set", "-s", conf, //nolint:gosec // words of ours
		"-H", filepath.Join(c.dir, "private", "sam.ldb"), "--account-lockout-threshold="+strconv.Itoa(Threshold), "--min-pwd-age=0")
	if out, err := policy.CombinedOutput(); err != nil {
		return fmt.Errorf("set the policy: %w\n%s", err, out)
	}
	return c.run(ctx, conf)
}

// configure writes what the domain is provisioned from: none of the machine's own
// settings of Samba is to be taken over.
func (c *Controller) configure(now time.Time) error {
	cert, err := winrmd.SelfSigned(c.address, now, rand.Reader)
	if err != nil {
		return err
	}
	if cert.Leaf, err = x509.ParseCertificate(cert.Certificate[0]); err != nil {
		return err
	}
	c.cert = cert
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		return err
	}
	write := func(name string, content []byte) {
		err = errors.Join(err, os.WriteFile(filepath.Join(c.dir, name), content, 0o600))
	}
	err = os.Mkdir(filepath.Join(c.dir, "etc"), 0o750)
	write("dc.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	write("dc.pem", pemOf(cert))
	write("base.conf", []byte(strings.ReplaceAll(`[global]
  interfaces = `+c.address+`/8
  bind interfaces only = yes
  disable netbios = yes
  log file = DIR/log.%m
  pid directory = DIR/run
  ncalrpc dir = DIR/ncalrpc
  winbindd socket directory = DIR/winbindd
  ntp signd socket directory = DIR/ntp_signd
  tls enabled = yes
  tls keyfile = DIR/dc.key
  tls certfile = DIR/dc.pem
  tls cafile = DIR/dc.pem
`, "DIR", c.dir)))
	return errors.Join(err, os.Mkdir(filepath.Join(c.dir, "run"), 0o750))
}

// narrow leaves the services away that nobody asks.
func narrow(conf string) error {
	b, err := os.ReadFile(conf) //nolint:gosec // in our own folder
	if err != nil {
		return err
	}
	text := strings.Replace(string(b), "server role", "server services = rpc, ldap, kdc\n\tserver role", 1)
	return os.WriteFile(conf, []byte(text), 0o600) //nolint:gosec // in our own folder
}

// run starts the controller and waits until it answers.
func (c *Controller) run(ctx context.Context, conf string) error {
	out, err := os.Create(filepath.Join(c.dir, "samba.out"))
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	//nolint:gosec,noctx // words of ours; it lives until Close
	c.process = exec.Command("samba", "-i", "-M", "single", "-s", conf, "--debug-stdout", "-d", "1")
	c.process.Stdout, c.process.Stderr = out, out
	if err := c.process.Start(); err != nil {
		return err
	}
	go func() {
		c.why = c.process.Wait()
		close(c.ended)
	}()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(c.address, "636"))
		if err == nil {
			return conn.Close()
		}
		select {
		case <-c.ended:
			said, _ := os.ReadFile(out.Name())
			return fmt.Errorf("samba ended: %w\n%s", c.why, said)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Close ends the controller by its pid, waits for it, and removes its folder.
func (c *Controller) Close() error {
	if c.process != nil && c.process.Process != nil {
		stopped := c.process.Process.Signal(syscall.SIGTERM)
		select {
		case <-c.ended:
		case <-time.After(10 * time.Second):
			stopped = errors.Join(stopped, errors.New("samba did not end by itself"), c.process.Process.Kill())
			<-c.ended
		}
		if stopped != nil && !errors.Is(stopped, os.ErrProcessDone) {
			return fmt.Errorf("stop Samba: %w", stopped)
		}
	}
	return os.RemoveAll(c.dir)
}

// Address is where it serves, at the usual ports.
func (c *Controller) Address() string { return c.address }

// Certificate is what it shows, which is its own authority.
func (c *Controller) Certificate() *x509.Certificate { return c.cert.Leaf }

// PEM is the same as a CA file holds it.
func (c *Controller) PEM() []byte { return pemOf(c.cert) }

func pemOf(c tls.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})
}

// A State is how an account is made.
type State string

// The states.
const (
	Plain      State = "plain"
	Disabled   State = "disabled"
	MustChange State = "must change"
	Expired    State = "expired"
	Locked     State = "locked"
)

// AddUser makes an account in a state as an administrator of the domain does, and
// returns its sam.
func (c *Controller) AddUser(state State, password string) (string, error) {
	c.mu.Lock()
	c.accounts++
	sam := fmt.Sprintf("svc%d", c.accounts)
	c.mu.Unlock()
	conn, err := c.dial()
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.Bind(Administrator, Password); err != nil {
		return "", fmt.Errorf("log in to Samba: %w", err)
	}
	q := newUser(sam, state, password)
	if err := conn.Add(q); err != nil {
		return "", fmt.Errorf("add %s: %w", sam, err)
	}
	for n := 0; state == Locked && n < Threshold; n++ {
		if conn.Bind(q.DN, "N0t-the-password") == nil {
			return "", errors.New("a wrong password was taken")
		}
	}
	return sam, nil
}

// LogOn reports whether a password of an account logs on, once.
func (c *Controller) LogOn(sam, password string) (bool, error) {
	conn, err := c.dial()
	if err != nil {
		return false, err
	}
	defer func() { _ = conn.Close() }()
	err = conn.Bind(NetBIOS+`\`+sam, password)
	if ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials) {
		return false, nil
	}
	return err == nil, err
}

func (c *Controller) dial() (*ldap.Conn, error) {
	conn, err := ldap.DialURL("ldaps://"+net.JoinHostPort(c.address, strconv.Itoa(PortLDAPS)),
		ldap.DialWithTLSConfig(&tls.Config{InsecureSkipVerify: true})) //nolint:gosec // our own child
	if err != nil {
		return nil, fmt.Errorf("reach Samba: %w", err)
	}
	return conn, nil
}

func newUser(sam string, state State, password string) *ldap.AddRequest {
	q := ldap.NewAddRequest("CN="+sam+",CN=Users,"+base, nil)
	control := "512"
	if state == Disabled {
		control = "514"
	}
	q.Attribute("objectClass", []string{"user"})
	q.Attribute("sAMAccountName", []string{sam})
	q.Attribute("userPrincipalName", []string{sam + "@" + DNS})
	q.Attribute("userAccountControl", []string{control})
	q.Attribute("unicodePwd", []string{quoted(password)})
	switch state {
	case MustChange:
		q.Attribute("pwdLastSet", []string{"0"})
	case Expired:
		q.Attribute("accountExpires", []string{"132223104000000000"}) // 2020
	case Plain, Disabled, Locked:
	}
	return q
}

// quoted is a password as unicodePwd takes it; ASCII is enough here.
func quoted(password string) string {
	var b strings.Builder
	for _, r := range []byte(`"` + password + `"`) {
		b.WriteByte(r)
		b.WriteByte(0)
	}
	return b.String()
}
