package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"keyturn/pkg/lab/model"
	"keyturn/pkg/pam"
	"keyturn/pkg/powershell"
	"keyturn/pkg/remote"
	"keyturn/pkg/remote/ssh"
	"keyturn/pkg/remote/winrm"
	"keyturn/pkg/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func fleetFor(t *testing.T, change ...func(*Options)) *Fleet {
	t.Helper()
	o := Options{Machines: 2, Dir: filepath.Join(t.TempDir(), "lab"), Now: time.Now}
	for _, c := range change {
		c(&o)
	}
	f, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return f
}

func targetFor(t *testing.T, f *Fleet, machine, user string, password secret.Value) remote.Target {
	t.Helper()
	d, err := f.Describe()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range d.Machines {
		if m.Name == machine {
			return remote.Target{
				Endpoint: remote.Endpoint{Transport: pam.WinRM, Host: m.Host, Port: m.Port, Pin: m.Pin},
				User:     user, Password: password,
			}
		}
	}
	t.Fatalf("no machine %s", machine)
	return remote.Target{}
}

func dialer() *winrm.Dialer {
	return winrm.NewDialer(winrm.Options{Now: time.Now, Operation: time.Second, Backoff: 10 * time.Millisecond})
}

// run runs one line as the lab's admin.
func run(t *testing.T, f *Fleet, machine, line string, in []byte) (remote.Result, error) {
	t.Helper()
	s, err := dialer().Dial(t.Context(), targetFor(t, f, machine, model.PracticeAdmin, f.Model.Admin))
	if err != nil {
		return remote.Result{}, err
	}
	defer func() { _ = s.Close() }()
	return s.Run(t.Context(), remote.Script{Line: line}, secret.New(in))
}

func TestAFleetOfOnesOwnIsServed(t *testing.T) {
	t.Parallel()
	admin := secret.New([]byte("adm1n-Passw0rd"))
	d := model.NewDomain(model.PracticeDomain, model.PracticeDNS, model.Policy{})
	d.Add(model.User{Sam: "admin", Password: admin})
	machine := func(s model.MachineSpec) *model.Machine {
		s.Domain, s.Clock, s.Session = d, model.WallClock(time.Now), model.PracticeAdmin
		return model.NewMachine(s)
	}
	own := &model.Fleet{Domain: d, Admin: admin, Service: admin, DC: machine(model.MachineSpec{Name: "CTRL", DC: true})}
	own.Servers = append(own.Servers, machine(model.MachineSpec{Name: "ALONE"}))
	f := fleetFor(t, func(o *Options) { o.Fleet, o.Machines = own, 0 })
	if f.Model != own || len(f.Machines()) != 2 || f.Machine("CTRL").LDAP == nil || f.Machine("ALONE").LDAP != nil {
		t.Fatalf("%d machines", len(f.Machines()))
	}
	res, err := run(t, f, "ALONE", "more", []byte("words"))
	if err != nil || strings.TrimSpace(string(res.Stdout)) != "words" {
		t.Errorf("%q, %v", res.Stdout, err)
	}
}

func TestWhoMayLogIn(t *testing.T) {
	t.Parallel()
	f := fleetFor(t)
	admin, service := f.Model.Admin, f.Model.Service
	rows := []struct {
		name, user string
		password   secret.Value
		ok         bool
	}{
		{"the admin of the domain", `LAB\admin`, admin, true},
		{"in other letters", `lab\ADMIN`, admin, true},
		{"by the DNS name of the domain", `lab.example\admin`, admin, true},
		{"by UPN", `admin@lab.example`, admin, true},
		{"by bare name", `admin`, admin, true},
		{"with a wrong password", `LAB\admin`, secret.New([]byte("wrong")), false},
		{"a domain account that is no administrator", `LAB\svc_app`, service, false},
		{"nobody", `LAB\nobody`, admin, false},
		{"an account of another domain", `OTHER\admin`, admin, false},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			s, err := dialer().Dial(t.Context(), targetFor(t, f, "SRV1", r.user, r.password))
			if err == nil {
				_ = s.Close()
			}
			if (err == nil) != r.ok {
				t.Errorf("error %v", err)
			}
			if !r.ok && !errors.Is(err, pam.ErrAuthFailed) {
				t.Errorf("not a refused log-in: %v", err)
			}
		})
	}
}

func TestWhoMayLogInWithoutAPassword(t *testing.T) {
	t.Parallel()
	f := fleetFor(t)
	key := func(name string) secret.Value {
		b, err := os.ReadFile(filepath.Join(f.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return secret.New(b)
	}
	certificate, admin := key(CertificateFile), key(AdminKeyFile)
	rows := []struct {
		name, machine, user string
		transport           pam.Transport
		key                 secret.Value
		ok                  bool
	}{
		{"a certificate at a member", "SRV1", "Administrator", pam.WinRM, certificate, true},
		{"a certificate at a domain controller", "DC01", "Administrator", pam.WinRM, certificate, false},
		{"an SSH key over WinRM", "SRV1", `LAB\admin`, pam.WinRM, admin, false},
		{"the admin's key", "SRV1", `LAB\admin`, pam.SSH, admin, true},
		{"the admin's key by UPN at a domain controller", "DC01", `admin@lab.example`, pam.SSH, admin, true},
		{"the admin's key for somebody else", "SRV1", `LAB\Administrator`, pam.SSH, admin, false},
		{"the certificate's key over SSH", "SRV1", `LAB\admin`, pam.SSH, certificate, false},
	}
	for _, r := range rows {
		var d remote.Dialer = dialer()
		target := targetFor(t, f, r.machine, r.user, secret.Value{})
		if r.transport == pam.SSH {
			d, target = ssh.NewDialer(ssh.Options{}), overSSH(t, f, target)
		}
		target.PrivateKey = r.key
		s, err := d.Dial(t.Context(), target)
		if err == nil {
			_ = s.Close()
		}
		if (err == nil) != r.ok || err != nil && !errors.Is(err, pam.ErrAuthFailed) {
			t.Errorf("%s: %v", r.name, err)
		}
	}
	f.Model.Domain.Configure("admin", func(u *model.User) { u.Disabled = true })
	target := overSSH(t, f, targetFor(t, f, "SRV1", `LAB\admin`, secret.Value{}))
	target.PrivateKey = admin
	if _, err := ssh.NewDialer(ssh.Options{}).Dial(t.Context(), target); !errors.Is(err, pam.ErrAuthFailed) {
		t.Errorf("a disabled account logs in with its key: %v", err)
	}
}

func TestWrongPasswordsLockAnAccountAndOldOnesDoNot(t *testing.T) {
	t.Parallel()
	f := fleetFor(t)
	try := func(password secret.Value) bool {
		s, err := dialer().Dial(t.Context(), targetFor(t, f, "SRV1", model.PracticeAdmin, password))
		if err == nil {
			_ = s.Close()
		}
		return err == nil
	}
	old := f.Model.Admin.Clone()
	next := secret.New([]byte("Another-password-1"))
	if code := f.Model.Domain.Reset("admin", next); code != model.OK {
		t.Fatal(code)
	}
	bad := func() int {
		u, _ := f.Model.Domain.User("admin")
		return u.BadCount
	}
	if try(old) || bad() != 0 {
		t.Errorf("the previous password: %d bad attempts, want none counted", bad())
	}
	if !try(next) {
		t.Error("the new password is refused")
	}
	if try(secret.New([]byte("wrong"))) || bad() != 1 {
		t.Errorf("a wrong password: %d bad attempts, want 1", bad())
	}
	f.Model.Domain.Configure("admin", func(u *model.User) { u.Locked = true })
	if try(next) {
		t.Error("a locked account logs in")
	}
}

func TestCommandsOfAMachine(t *testing.T) {
	t.Parallel()
	f := fleetFor(t)
	rows := []struct {
		line, in, out, errs string
		exit                int
	}{
		{`more`, "a\r\nb", "a\r\nb", "", 0},
		{`findstr "^"`, "x", "x", "", 0},
		{`cmd.exe /c more`, "y", "y", "", 0},
	}
	for _, r := range rows {
		got, err := run(t, f, "SRV2", r.line, []byte(r.in))
		if err != nil || string(got.Stdout) != r.out || string(got.Stderr) != r.errs || got.ExitCode != r.exit {
			t.Errorf("%s: %q %q %d, %v", r.line, got.Stdout, got.Stderr, got.ExitCode, err)
		}
	}
}

func TestBuiltinCommands(t *testing.T) {
	t.Parallel()
	f := fleetFor(t)
	rows := []struct {
		program, arguments, out, errs string
		exit                          int
	}{
		{"hostname", "", "SRV1\r\n", "", 0},
		{"whoami", "", "lab\\admin\r\n", "", 0},
		{"echo", "hi there", "hi there\r\n", "", 0},
		{"exit", "7", "", "", 7},
		{"exit", "/b 8", "", "", 8},
		{"net", "user", "", "'net' is not recognized as an internal or external command,\r\noperable program or batch file.\r\n", 1},
	}
	for _, r := range rows {
		var out, errs bytes.Buffer
		code := f.Machine("srv1").host.builtin(`LAB\admin`, r.program, r.arguments, strings.NewReader(""), &out, &errs)
		if out.String() != r.out || errs.String() != r.errs || code != r.exit {
			t.Errorf("%s %s: %q %q %d", r.program, r.arguments, out.String(), errs.String(), code)
		}
	}
}

func TestTheFolderOfALab(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "lab")
	f := fleetFor(t, func(o *Options) { o.Dir = dir })
	d, err := ReadDescription(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !d.Simulation || d.Domain != "LAB" || d.Admin != `LAB\admin` || len(d.Machines) != 3 || d.Machines[0].Name != "DC01" {
		t.Errorf("description %+v", d)
	}
	for _, m := range d.Machines {
		if m.SSHPort == 0 || m.SSHPort == m.Port || !strings.HasPrefix(m.SSHHostKey, "ssh-ed25519 ") || m.SSHShell != "cmd" {
			t.Errorf("SSH of %+v", m)
		}
	}
	for name, want := range map[string]secret.Value{AdminPasswordFile: f.Model.Admin, ServicePasswordFile: f.Model.Service} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !bytes.Equal(b, want.Reveal()) {
			t.Errorf("%s does not hold the password: %v", name, err)
		}
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", name, info.Mode(), err)
		}
	}
	if _, err := Start(t.Context(), Options{Machines: 1, Dir: dir, Now: time.Now}); err == nil {
		t.Error("a second lab started in the same folder")
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(d.Control); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the control socket is still there: %v", err)
	}
	if _, err := AskView(t.Context(), dir); err == nil {
		t.Error("a lab that is gone answers")
	}
	again := fleetFor(t, func(o *Options) { o.Dir = dir })
	if again.Model.Admin.Equal(f.Model.Admin) {
		t.Error("a new lab has the passwords of the old one")
	}
}

func TestALongFolderNameStillHasASocket(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	fleetFor(t, func(o *Options) { o.Dir = dir })
	if machines, err := AskView(t.Context(), dir); err != nil || len(machines) != 3 {
		t.Errorf("%d machines, %v", len(machines), err)
	}
}

func TestShow(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "lab")
	f := fleetFor(t, func(o *Options) { o.Dir = dir })
	var text bytes.Buffer
	if err := Show(t.Context(), dir, FormatTable, &text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"SRV2", "OrdersApi", "logs on"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
	if code := f.Model.Domain.Reset("svc_app", secret.New([]byte("Another-password-1"))); code != model.OK {
		t.Fatal(code)
	}
	var raw bytes.Buffer
	if err := Show(t.Context(), dir, FormatJSON, &raw); err != nil {
		t.Fatal(err)
	}
	var v struct {
		Machines []model.MachineView `json:"machines"`
	}
	if err := json.Unmarshal(raw.Bytes(), &v); err != nil {
		t.Fatal(err)
	}
	if s := v.Machines[1].Service("OrdersApi"); s.CredentialOK || !s.StoresSecret {
		t.Errorf("after a reset nobody was told of: %+v", s)
	}
	for _, password := range []secret.Value{f.Model.Admin, f.Model.Service} {
		if strings.Contains(text.String()+raw.String(), string(password.Reveal())) {
			t.Error("a password is shown")
		}
	}
	if err := Show(t.Context(), dir, "yaml", io.Discard); err == nil {
		t.Error("an unknown format was shown")
	}
}

func TestFaultsByName(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "lab")
	f := fleetFor(t, func(o *Options) { o.Dir = dir })
	ask := func(machine, fault string) {
		t.Helper()
		if err := AskFault(t.Context(), dir, machine, fault); err != nil {
			t.Errorf("%s %s: %v", machine, fault, err)
		}
	}
	ofControllers, ofServers := []string{"drop-reset", "no-reset"}, []string{"pool-broken", "pool-mended"}
	for _, k := range Faults() {
		for machine, not := range map[string][]string{"DC01": ofServers, "SRV1": ofControllers} {
			err := AskFault(t.Context(), dir, machine, k.Name)
			if refused := slices.Contains(not, k.Name); (err != nil) != refused {
				t.Errorf("%s %s: %v", machine, k.Name, err)
			}
		}
	}
	ask("SRV1", "pool-broken")
	ask("SRV1", "healthy")
	ask("DC01", "healthy")
	if got := illness(t, f); got != "" {
		t.Errorf("healthy, and still %s", got)
	}
	ask("srv1", "down")
	if _, err := run(t, f, "SRV1", "more", nil); !errors.Is(err, pam.ErrUnreachable) {
		t.Errorf("a machine that is down: %v", err)
	}
	ask("SRV1", "up")
	if _, err := run(t, f, "SRV1", "more", nil); err != nil {
		t.Errorf("a machine that is up again: %v", err)
	}
	ask("SRV1", "unauthorized")
	if _, err := run(t, f, "SRV1", "more", nil); !errors.Is(err, pam.ErrAuthFailed) {
		t.Errorf("a machine that refuses everybody: %v", err)
	}
	for _, wrong := range [][2]string{{"SRV9", "down"}, {"SRV1", "explode"}} {
		if err := AskFault(t.Context(), dir, wrong[0], wrong[1]); err == nil {
			t.Errorf("%v was taken", wrong)
		}
	}
}

// illness is what is still wrong with the practice machines; "" is nothing.
func illness(t *testing.T, f *Fleet) string {
	t.Helper()
	m := f.Machine("SRV1").Model
	applications, err := m.Applications()
	if err != nil {
		t.Fatal(err)
	}
	switch code, err := m.Logon("svc_app", model.PracticeDomain, f.Model.Service, model.LogonService); {
	case err != nil || code != model.OK:
		return fmt.Sprintf("the account does not log on as a service: %v, %v", code, err)
	case len(applications) > 0:
		return "a COM+ application"
	}
	if iis, err := m.IIS(); err != nil || iis.Shared != "" {
		return fmt.Sprintf("a shared configuration, %q, %v", iis.Shared, err)
	}
	if err := m.RecyclePool("Orders"); err != nil {
		return fmt.Sprintf("the pool does not recycle: %v", err)
	}
	view := m.View()
	if p := view.Pool("Orders"); p.State != "Started" {
		return fmt.Sprintf("the pool is %s", p.State)
	}
	who, err := m.Translate(model.PracticeService)
	if err != nil {
		t.Fatal(err)
	}
	processes, err := m.Processes()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range processes {
		if p.Owner == who.SID && p.Image == "orders-import.exe" {
			return "a process of nobody"
		}
	}
	return ""
}

// stopper is a script that stops a service, notes what it does next, and would
// start the service again.
func stopper(service string, next chan<- error) answer {
	return func(_ context.Context, m *model.Machine, _ string, _ io.Reader, _ io.Writer) int {
		if err := m.Control(service, model.Stop); err != nil {
			next <- err
			return 1
		}
		next <- m.Control(service, model.Start)
		return 0
	}
}

func TestAShellThatDiesBetweenStopAndStart(t *testing.T) {
	t.Parallel()
	next := make(chan error, 1)
	f := fleetFor(t, func(o *Options) { o.answer = stopper("OrdersMonitor", next) })
	m := f.Machine("SRV1")
	m.KillAfterNextStop()
	if _, err := run(t, f, "SRV1", powershell.CommandLine(), nil); err == nil {
		t.Error("the command ended well")
	}
	if err := <-next; !errors.Is(err, model.ErrCut) {
		t.Errorf("the dying script went on: %v", err)
	}
	if s := m.Model.View().Service("OrdersMonitor"); s.State != model.Stopped {
		t.Errorf("the service is %s", s.State)
	}
	if got, err := run(t, f, "SRV1", "more", []byte("x")); err != nil || string(got.Stdout) != "x" {
		t.Errorf("the machine did not come back: %q %v", got.Stdout, err)
	}
}

func TestServeSaysThatItIsASimulation(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- Serve(ctx, Options{Machines: 1, Dir: filepath.Join(t.TempDir(), "lab"), Now: time.Now}, w)
		_ = w.Close()
	}()
	text := make([]byte, 0, 4096)
	b := make([]byte, 4096)
	for !bytes.Contains(text, []byte("\nready\n")) {
		n, err := r.Read(b)
		text = append(text, b[:n]...)
		if err != nil {
			t.Fatalf("%v after %q", err, text)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if !bytes.Contains(text, []byte("simulation")) || bytes.Count(text, []byte("127.0.0.1:")) != 2 {
		t.Errorf("announced %q", text)
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, o := range []Options{
		{Machines: 0, Dir: t.TempDir(), Now: time.Now},
		{Machines: MaxMachines + 1, Dir: t.TempDir(), Now: time.Now},
		{Machines: 1, Now: time.Now},
		{Machines: 1, Dir: t.TempDir()},
		{Machines: 1, Dir: t.TempDir(), Now: time.Now, Engine: "no-such-engine-anywhere"},
	} {
		if f, err := Start(t.Context(), o); err == nil {
			_ = f.Close()
			t.Errorf("%+v was taken", o)
		}
	}
}

func FuzzControl(f *testing.F) {
	f.Add(`{"do":"show"}`)
	f.Add(`{"do":"fault","machine":"SRV1","fault":"x"}`)
	f.Add("\x00")
	f.Fuzz(func(t *testing.T, line string) {
		here, there := net.Pipe()
		defer func() { _ = here.Close() }()
		done := make(chan struct{})
		go func() {
			defer close(done)
			(&Fleet{}).serveControlConn(t.Context(), there)
		}()
		go func() { _, _ = io.Copy(io.Discard, here) }()
		_, _ = here.Write([]byte(line + "\n"))
		_ = here.Close()
		<-done
	})
}
