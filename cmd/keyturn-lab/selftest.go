package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"keyturn/pkg/lab/selftest"
	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
	"keyturn/pkg/remote/ssh"
	"keyturn/pkg/remote/winrm"
	"keyturn/pkg/secret"
)

// selftestFlags are what the selftest command is told.
type selftestFlags struct {
	host, transport, login, passwordFile, keyFile, pin, caFile, hostKey, out string
	port, sshPort                                                            int
	create, cleanup                                                          bool
}

const selftestHelp = `Ask a real Windows machine what no simulation can know, and write a report to
attach to a bug: question, answer, what Keyturn expects, raw numbers.

Without --create nothing is changed on the machine. With it, one local account,
one service, three tasks and one IIS pool, all named keyturn-selftest-*, are made
and removed again; use a machine that may be broken, never a domain controller.
An interrupted run cleans up too; --cleanup removes what one could not.

For a full answer turn on, before the run: PowerShell script block logging, module
logging for all modules, transcription, and the audit of process creation with
command lines. docs/windows.md says how.

The report names the machine and the account that logged in. It holds no password.`

func newSelftest() *cobra.Command {
	var o selftestFlags
	c := &cobra.Command{
		Use:   "selftest --host NAME --login USER --password-file FILE",
		Short: "Ask a real Windows machine the open questions",
		Long:  selftestHelp,
		Example: "  keyturn-lab selftest --host srv1.corp.example --pin sha256:... --login 'SRV1\\admin' --password-file -\n" +
			"  keyturn-lab selftest --host srv1 --ca ca.pem --login 'CORP\\admin' --password-file pw --create --out srv1",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return o.run(c) },
	}
	f := c.Flags()
	f.StringVar(&o.host, "host", "", "`name` or address of the machine")
	f.StringVar(&o.transport, "transport", "winrm", "`way` to it: winrm, ssh, or both")
	f.IntVar(&o.port, "port", pam.PortWinRM, "`port` of WinRM over HTTPS")
	f.IntVar(&o.sshPort, "ssh-port", pam.PortSSH, "`port` of SSH")
	f.StringVar(&o.login, "login", "", "`account` that logs in: an administrator")
	f.StringVar(&o.passwordFile, "password-file", "", "`file` with its password; - is standard input")
	f.StringVar(&o.keyFile, "key", "", "`file` with a private key, for SSH")
	f.StringVar(&o.pin, "pin", "", "`sha256:HEX` of the WinRM certificate")
	f.StringVar(&o.caFile, "ca", "", "`file` with the CA of the WinRM certificate; neither: the system's")
	f.StringVar(&o.hostKey, "host-key", "", "host key for SSH, as a `line` of known_hosts without the name")
	f.StringVar(&o.out, "out", "keyturn-selftest", "`prefix` of the reports, PREFIX.md and PREFIX.json")
	f.BoolVar(&o.create, "create", false, "make throw-away objects on the machine, and remove them")
	f.BoolVar(&o.cleanup, "cleanup", false, "only remove what an earlier run left")
	_ = c.MarkFlagRequired("host")
	_ = c.MarkFlagRequired("login")
	c.MarkFlagsMutuallyExclusive("create", "cleanup")
	c.MarkFlagsMutuallyExclusive("pin", "ca")
	return c
}

func (o selftestFlags) run(c *cobra.Command) error {
	options, err := o.options(c.InOrStdin())
	if err != nil {
		return err
	}
	options.Progress = func(text string) { fmt.Fprintf(c.ErrOrStderr(), "%s\n", text) }
	ask := selftest.Run
	if o.cleanup {
		ask = selftest.Cleanup
	}
	rep, err := ask(c.Context(), options)
	if err != nil {
		return untrusted(err)
	}
	if err := o.write(rep); err != nil {
		return err
	}
	fmt.Fprintf(c.OutOrStdout(), "%d as expected, %d differ, %d answered, %d not run: see %s.md\n", rep.Count(selftest.AsExpected),
		rep.Count(selftest.Differs), rep.Count(selftest.Answered), rep.Count(selftest.NotRun), o.out)
	switch {
	case c.Context().Err() != nil:
		return fmt.Errorf("the run was interrupted; its report is not whole: %w", c.Context().Err())
	case len(rep.Leftovers) > 0:
		return fmt.Errorf("something is left on the machine (remove it with --cleanup): %s", strings.Join(rep.Leftovers, "; "))
	case rep.Count(selftest.Differs) > 0:
		return errors.New("some answers differ from what Keyturn counts on; please attach both reports to a bug")
	}
	return nil
}

// untrusted tells which certificate or host key a machine showed that is not
// trusted, so that a person can compare it and name it.
func untrusted(err error) error {
	var re *remote.Error
	if !errors.As(err, &re) || re.Server == "" {
		return err
	}
	flag := "--pin"
	if !strings.HasPrefix(re.Server, "sha256:") {
		flag = "--host-key"
	}
	return fmt.Errorf("%w; nothing was sent. Compare with the machine itself, then say %s '%s'", err, flag, re.Server)
}

// options are those of the package, from flags and files.
func (o selftestFlags) options(in io.Reader) (selftest.Options, error) {
	options := selftest.Options{
		Dialers: map[pam.Transport]remote.Dialer{
			pam.WinRM: winrm.NewDialer(winrm.Options{Now: time.Now}),
			pam.SSH:   ssh.NewDialer(ssh.Options{}),
		},
		Random: rand.Reader, Now: time.Now, Create: o.create,
	}
	overWinRM, overSSH, err := o.targets(in)
	if err != nil {
		return options, err
	}
	switch o.transport {
	case "winrm":
		options.Target = overWinRM
	case "ssh":
		options.Target = overSSH
	case "both":
		options.Target, options.SSH = overWinRM, &overSSH
	default:
		return options, fmt.Errorf("there is no transport %q (known: winrm, ssh, both)", o.transport)
	}
	return options, nil
}

func (o selftestFlags) targets(in io.Reader) (overWinRM, overSSH remote.Target, err error) {
	password, err := readSecret(o.passwordFile, in)
	if err != nil {
		return overWinRM, overSSH, err
	}
	key, err := readSecret(o.keyFile, nil)
	if err != nil {
		return overWinRM, overSSH, err
	}
	if password.IsZero() && (key.IsZero() || o.transport != "ssh") {
		return overWinRM, overSSH, errors.New("a password is needed: --password-file FILE, " +
			"or - for standard input, as in: read -rs P; printf %s \"$P\" | keyturn-lab selftest ... --password-file -")
	}
	overWinRM = remote.Target{
		Endpoint: remote.Endpoint{Transport: pam.WinRM, Host: o.host, Port: o.port, Pin: o.pin}, User: o.login, Password: password,
	}
	if o.caFile != "" {
		if overWinRM.CAPEM, err = os.ReadFile(o.caFile); err != nil {
			return overWinRM, overSSH, fmt.Errorf("read the CA: %w", err)
		}
	}
	overSSH = remote.Target{
		Endpoint: remote.Endpoint{Transport: pam.SSH, Host: o.host, Port: o.sshPort}, User: o.login, Password: password, PrivateKey: key,
	}
	if o.hostKey != "" {
		overSSH.HostKeys = []string{o.hostKey}
	}
	return overWinRM, overSSH, nil
}

// readSecret reads a secret from a file, or from in where the name is "-". One
// line end is not part of it.
func readSecret(name string, in io.Reader) (secret.Value, error) {
	var b []byte
	var err error
	switch {
	case name == "":
		return secret.Value{}, nil
	case name == "-" && in != nil:
		b, err = io.ReadAll(io.LimitReader(in, 1<<16))
	default:
		b, err = os.ReadFile(name) //nolint:gosec // the user names the file
	}
	if err != nil {
		return secret.Value{}, fmt.Errorf("read a secret: %w", err)
	}
	return secret.New(bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte("\r"))), nil
}

// write writes both reports.
func (o selftestFlags) write(rep selftest.Report) error {
	for suffix, write := range map[string]func(io.Writer) error{".md": rep.WriteMarkdown, ".json": rep.WriteJSON} {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			return err //nolint:wrapcheck // it says what it is
		}
		if err := os.WriteFile(o.out+suffix, b.Bytes(), 0o600); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
	}
	return nil
}
