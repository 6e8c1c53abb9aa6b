package selftest_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"keyturn/pkg/lab"
	"keyturn/pkg/lab/model"
	"keyturn/pkg/lab/selftest"
	"keyturn/pkg/pam"
	"keyturn/pkg/password"
	"keyturn/pkg/powershell"
	"keyturn/pkg/powershell/linttest"
	"keyturn/pkg/remote"
	"keyturn/pkg/remote/winrm"
	"keyturn/pkg/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// practice starts a lab and returns the options that test its machine SRV1.
func practice(t *testing.T, engine string) (*lab.Fleet, selftest.Options) {
	t.Helper()
	o := lab.Options{Machines: 1, Dir: filepath.Join(t.TempDir(), "lab"), Now: time.Now, Engine: engine}
	for _, name := range []string{"PATH", "HOME", "PSENGINE_CACHE"} {
		if v, ok := os.LookupEnv(name); ok {
			o.Environment = append(o.Environment, name+"="+v)
		}
	}
	f, err := lab.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return f, selftest.Options{
		Target: target(t, f, "SRV1"),
		Dialers: map[pam.Transport]remote.Dialer{pam.WinRM: winrm.NewDialer(winrm.Options{
			Now: time.Now, Operation: time.Second, Backoff: 10 * time.Millisecond,
		})},
		Random: rand.Reader, Now: time.Now, CutWait: 300 * time.Millisecond,
	}
}

func target(t *testing.T, f *lab.Fleet, machine string) remote.Target {
	t.Helper()
	d, err := f.Describe()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range d.Machines {
		if m.Name == machine {
			return remote.Target{
				Endpoint: remote.Endpoint{Transport: pam.WinRM, Host: m.Host, Port: m.Port, Pin: m.Pin},
				User:     model.PracticeAdmin, Password: f.Model.Admin,
			}
		}
	}
	t.Fatalf("no machine %s", machine)
	return remote.Target{}
}

// engine is the PowerShell engine that runs the scripts; without one the test
// skips.
func engine(t *testing.T) string {
	t.Helper()
	path := os.Getenv(linttest.EnvEngine)
	if path == "" {
		t.Skip(linttest.EnvEngine + " names no PowerShell engine that takes stand-ins")
	}
	return path
}

// masked replaces what differs from run to run.
func masked(b []byte) []byte {
	for _, m := range []struct{ pattern, with string }{
		{`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`, "TIME"},
		{`, \d+ ms\.`, ", N ms."},
		{`(\| (?:ping|stdin|look)[\w.]*ms \| )\d+`, "${1}N"},
		{`(connection and all \| |\| count\.\w+ \| |(?:Services|Tasks) on the machine \| )\d+`, "${1}N"},
		{`(?m)^(\| pool\.workers\.\w+ \| )[\d,]+`, "${1}PIDS"},
		{`(\| (?:os|ps|session|policy|ssh|log\.\w+|os\.\w+)[\w.]* \| )\d+\.\d+[\d.]*`, "${1}VERSION"},
		{`PowerShell [\d.]+,`, "PowerShell VERSION,"},
	} {
		b = regexp.MustCompile(m.pattern).ReplaceAll(b, []byte(m.with))
	}
	return b
}

func golden(t *testing.T, rep selftest.Report, file string) {
	t.Helper()
	var md bytes.Buffer
	if err := rep.WriteMarkdown(&md); err != nil {
		t.Fatal(err)
	}
	got := masked(md.Bytes())
	if os.Getenv("UPDATE") == "1" {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not the report (UPDATE=1 rewrites it); got:\n%s", file, got)
	}
}

// A practice machine that answers in Go knows the shipped script only: what it
// cannot do is said, and nothing is made up.
func TestAgainstTheLabsOwnAnswers(t *testing.T) {
	t.Parallel()
	f, o := practice(t, "")
	before := f.Machine("SRV1").Model.View()
	o.Create = true
	rep, err := selftest.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, rep, "testdata/answers.md")
	if rep.Count(selftest.Differs) > 0 || len(rep.Leftovers) > 0 {
		t.Errorf("%+v", rep)
	}
	if after := f.Machine("SRV1").Model.View(); len(after.Services) != len(before.Services) || len(after.Tasks) != len(before.Tasks) {
		t.Errorf("something was made: %+v", after)
	}
}

// The very script runs in a real engine, on a model of Windows, with everything
// it makes; the model is as before when it is done.
func TestInTheEngine(t *testing.T) {
	t.Parallel()
	f, o := practice(t, engine(t))
	m := f.Machine("SRV1").Model
	before := m.View()
	o.Create = true
	rep, err := selftest.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, rep, "testdata/engine.md")
	after := m.View()
	if len(after.Services) != len(before.Services) || len(after.Tasks) != len(before.Tasks) || len(after.Pools) != len(before.Pools) {
		t.Errorf("left behind: %+v", after)
	}
	if _, ok := m.Local().User("keyturn-selftest-1"); ok {
		t.Error("the account was left behind")
	}
	if len(rep.Leftovers) > 0 {
		t.Errorf("leftovers: %q", rep.Leftovers)
	}
}

// What an interrupted run left is removed by Cleanup; a run that finds it says so.
func TestLeftoversAreToldAndRemoved(t *testing.T) {
	t.Parallel()
	f, o := practice(t, engine(t))
	m := f.Machine("SRV1").Model
	m.Local().Add(model.User{Sam: "keyturn-selftest-1", Password: secret.New([]byte("Left-over-1"))})
	o.Create = true
	ctx, stop := context.WithCancel(t.Context())
	o.Progress = func(text string) {
		if text == "selftest_setup" { // the run is interrupted as it begins to make things
			stop()
		}
	}
	if _, err := selftest.Run(ctx, o); err != nil {
		t.Fatal(err)
	}
	if _, ok := m.Local().User("keyturn-selftest-1"); ok {
		t.Error("an interrupted run did not clean up")
	}
	m.Local().Add(model.User{Sam: "keyturn-selftest-1", Password: secret.New([]byte("Left-over-2"))})
	o.Progress = nil
	rep, err := selftest.Cleanup(t.Context(), o)
	if err != nil || len(rep.Leftovers) > 0 {
		t.Fatalf("%v, %q", err, rep.Leftovers)
	}
	if _, ok := m.Local().User("keyturn-selftest-1"); ok {
		t.Error("cleaning up did not")
	}
}

// Where Windows behaves in the other of two ways, the answers say so.
func TestTheOtherReadings(t *testing.T) {
	t.Parallel()
	f, o := practice(t, engine(t))
	m := f.Machine("SRV1").Model
	m.SetReadings(model.Readings{CredentialPerTask: true, ServiceBackup: true})
	// The stand-ins of IIS make and remove no pool: this one is there, and stays.
	m.AddPool(model.PoolSpec{
		Name: "keyturn-selftest-pool", IdentityType: model.PoolSpecificUser, UserName: `SRV1\keyturn-selftest-1`, AlwaysRunning: true, Workers: 1,
	})
	o.Create = true
	rep, err := selftest.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"selftest_services service.start.wrong": "0",
		"selftest_tasks task.run.other":         "0x8007052E",
		"selftest_pools pool.recycled":          "yes",
	}
	for _, c := range rep.Checks {
		if answer, ok := want[c.Did]; ok && c.Answer != answer {
			t.Errorf("%+v, want %s", c, answer)
		}
	}
	if len(rep.Leftovers) != 1 || !strings.Contains(rep.Leftovers[0], "the pool is still there") {
		t.Errorf("what could not be removed is not told: %q", rep.Leftovers)
	}
}

// event is one event as Windows shows it.
func event(id int, data string) string {
	return fmt.Sprintf(`<Event><System><EventID>%d</EventID></System><EventData><Data Name="CommandLine">%s</Data></EventData></Event>`, id, data)
}

// logs gives a machine logs that hold what is harmless of a run.
func logs(m *model.Machine) {
	m.Log("Microsoft-Windows-PowerShell/Operational", event(4104, "function WsxRead"), event(4103, "New-Object bound"), event(4105, "else"))
	m.Log("Windows PowerShell", event(400, "HostApplication=powershell.exe"))
	m.Log("Security", event(4688, powershell.CommandLine()), event(4688, "cmd.exe /c dir"), event(4624, "else"))
	m.Log("System", event(7036, "Service Control Manager"))
	m.Log("Microsoft-Windows-TaskScheduler/Operational", event(140, "Task"))
}

// Without --create nothing is made and nobody fails to log on; logs that hold
// nothing secret are as expected.
func TestWithoutCreateNothingChanges(t *testing.T) {
	t.Parallel()
	f, o := practice(t, engine(t))
	m := f.Machine("SRV1").Model
	logs(m)
	before := len(m.Events())
	rep, err := selftest.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range m.Events()[before:] {
		if e.Kind != model.LoggedOn {
			t.Errorf("%+v", e)
		}
	}
	if rep.Created || !rep.Practice {
		t.Error("the report does not say that nothing was made, on a practice machine")
	}
	found := 0
	for _, c := range rep.Checks {
		if strings.HasPrefix(c.Did, "selftest_services") && (c.Verdict != selftest.NotRun || c.Why != "needs --create") {
			t.Errorf("%+v", c)
		}
		if strings.HasPrefix(c.Did, "selftest_events log.") && !strings.HasSuffix(c.Did, "transcripts") {
			found++
			if c.Verdict != selftest.AsExpected {
				t.Errorf("%+v", c)
			}
		}
	}
	if found != 7 {
		t.Errorf("%d questions about logs", found)
	}
}

// Each log holds the run's own secret in another form; the command line is
// another one too. All of it is found.
func TestASecretInALogIsFound(t *testing.T) {
	t.Parallel()
	f, o := practice(t, engine(t))
	m := f.Machine("SRV1").Model
	logs(m)
	random := make([]byte, 1<<16)
	if _, err := rand.Read(random); err != nil {
		t.Fatal(err)
	}
	o.Random = bytes.NewReader(random)
	canary := canaryOf(t, random)
	var wide []byte
	for _, b := range canary {
		wide = append(wide, b, 0)
	}
	m.Log("Microsoft-Windows-PowerShell/Operational", event(4104, "$x = '"+string(canary)+"'"),
		event(4103, "-Value "+base64.StdEncoding.EncodeToString(canary)))
	m.Log("Security", event(4688, "powershell.exe -NoLogo -NoProfile -EncodedCommand "+base64.StdEncoding.EncodeToString(wide)))
	rep, err := selftest.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range rep.Checks {
		switch c.Did {
		case "selftest_events log.4104", "selftest_events log.4103", "selftest_events log.4688":
			if c.Verdict != selftest.Differs || !strings.HasSuffix(c.Answer, " hits=1") {
				t.Errorf("%+v", c)
			}
		case "selftest_events log.system":
			if c.Verdict != selftest.AsExpected {
				t.Errorf("%+v", c)
			}
		}
	}
	var b strings.Builder
	if err := rep.WriteMarkdown(&b); err != nil || strings.Contains(b.String(), string(canary)) {
		t.Errorf("the report holds the secret (%v)", err)
	}
}

// canaryOf draws as the run does: four passwords, then the canary.
func canaryOf(t *testing.T, random []byte) []byte {
	t.Helper()
	source := bytes.NewReader(random)
	var last secret.Value
	for range 5 {
		v, err := password.Generate(source, password.Rules{Length: 24, Upper: 1, Lower: 1, Digits: 1})
		if err != nil {
			t.Fatal(err)
		}
		last = v
	}
	return last.Reveal()
}

// On a domain controller the local accounts are the domain's: nothing is made.
func TestNothingIsMadeOnADomainController(t *testing.T) {
	t.Parallel()
	f, o := practice(t, engine(t))
	o.Target = target(t, f, "DC01")
	o.Create = true
	rep, err := selftest.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := f.Model.Domain.User("keyturn-selftest-1"); ok {
		t.Error("an account was made in the domain")
	}
	for _, c := range rep.Checks {
		if strings.HasPrefix(c.Did, "selftest_logons") && !strings.Contains(c.Why, "domain controller") {
			t.Errorf("%+v", c)
		}
	}
}

// What a machine does not allow is told with its own number.
func TestAnAccountThatCannotBeMade(t *testing.T) {
	t.Parallel()
	f, o := practice(t, engine(t))
	f.Machine("SRV1").Model.Local().SetPolicy(model.Policy{MinLength: 200})
	o.Create = true
	rep, err := selftest.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(rep.Leftovers) > 0 {
		t.Errorf("leftovers: %q", rep.Leftovers)
	}
	for _, c := range rep.Checks {
		if strings.HasPrefix(c.Did, "selftest_logons") && !strings.Contains(c.Why, "could not be made (error 2245") {
			t.Errorf("%+v", c)
		}
	}
}

// Without a log-in there is no report.
func TestAMachineThatRefusesUs(t *testing.T) {
	t.Parallel()
	_, o := practice(t, "")
	o.Target.Password = secret.New([]byte("not-the-Passw0rd"))
	if _, err := selftest.Run(t.Context(), o); !errors.Is(err, pam.ErrAuthFailed) {
		t.Errorf("%v", err)
	}
}
