package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"keyturn/pkg/lab"
	"keyturn/pkg/lab/model"
	"keyturn/pkg/lab/sshd"
	"keyturn/pkg/lab/winrmd"
	"keyturn/pkg/needtest"
	"keyturn/pkg/remote/sshtest"
)

// targets are the stories that work on machines, apart from those that need none.
const targets = "../../testdata/targets"

// TestWindows tells the stories of practice Windows machines whose script is
// answered by the lab itself.
func TestWindows(t *testing.T) {
	t.Parallel()
	runTargets(t, labKind{}, "windows_*.txtar")
}

// TestWindowsScripts tells some of these stories with the shipped PowerShell
// running in a real engine on every machine: those in which the script's process
// matters, and one whole way. What the script says is held against the twin's in
// pkg/lab/script, for a tenth of the time.
func TestWindowsScripts(t *testing.T) {
	t.Parallel()
	engine := os.Getenv("KEYTURN_PWSH")
	if engine == "" {
		t.Skip("no PowerShell engine: name one that understands PSENGINE_STANDINS in KEYTURN_PWSH")
	}
	runTargets(t, labKind{engine: engine}, "windows_rotation.txtar", "windows_cut.txtar", "windows_orphan.txtar")
}

// TestT13WindowsOverSSH tells the story of a Windows machine that is reached over
// SSH for each default shell, answered by the lab, and once by the shipped
// PowerShell: pkg/lab has it answer behind every shell.
func TestT13WindowsOverSSH(t *testing.T) {
	t.Parallel()
	for _, shell := range sshd.Shells() {
		t.Run(string(shell), func(t *testing.T) {
			t.Parallel()
			runTargets(t, labKind{shell: shell}, "ssh_windows.txtar")
		})
	}
	t.Run("scripts", func(t *testing.T) {
		t.Parallel()
		engine := os.Getenv("KEYTURN_PWSH")
		if engine == "" {
			t.Skip("no PowerShell engine: name one that understands PSENGINE_STANDINS in KEYTURN_PWSH")
		}
		runTargets(t, labKind{engine: engine, shell: sshd.Bash}, "ssh_windows.txtar")
	})
}

// TestLinux tells the stories of a real OpenSSH server.
func TestLinux(t *testing.T) {
	t.Parallel()
	if why := sshtest.Unavailable(); why != "" {
		needtest.Missing(t, why)
	}
	runTargets(t, labKind{}, "linux_*.txtar")
}

// A labKind is what the practice machines are like.
type labKind struct {
	engine string     // of PowerShell; "" answers in Go
	shell  sshd.Shell // the default shell over SSH
}

func runTargets(t *testing.T, kind labKind, patterns ...string) {
	t.Helper()
	var files []string
	for _, p := range patterns {
		found, err := filepath.Glob(filepath.Join(targets, p))
		if err != nil || len(found) == 0 {
			t.Fatalf("no stories %s: %v", p, err)
		}
		files = append(files, found...)
	}
	words := scriptCommands()
	words["lab"] = cmdLab(kind)
	words["labhome"] = cmdLabHome
	words["sshd"] = cmdSSHD(t)
	words["samba"] = cmdSamba(t)
	words["window"] = cmdWindow
	words["jsonone"] = cmdJSONOne
	words["grepenv"] = func(ts *testscript.TestScript, neg bool, args []string) {
		if found := strings.Contains(ts.ReadFile(args[1]), ts.Getenv(args[0])); found == neg {
			ts.Fatalf("%s has $%s: %v", args[1], args[0], found)
		}
	}
	words["head"] = func(ts *testscript.TestScript, _ bool, args []string) {
		n, err := strconv.Atoi(args[1])
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(ts.ReadFile(args[0])[:n]), 0o600))
	}
	words["replace"] = func(ts *testscript.TestScript, _ bool, args []string) {
		text := strings.ReplaceAll(ts.ReadFile(args[0]), args[1], args[2])
		ts.Check(os.WriteFile(ts.MkAbs(args[3]), []byte(text), 0o600))
	}
	testscript.Run(t, testscript.Params{
		Files: files, UpdateScripts: os.Getenv("UPDATE") != "",
		RequireExplicitExec: true, RequireUniqueNames: true, Setup: setup, Cmds: words,
	})
}

// A perScript is something that each of several scripts has one of. They run at
// the same time.
type perScript[T any] struct {
	mu  sync.Mutex
	all map[*testscript.TestScript]T
}

func (p *perScript[T]) get(ts *testscript.TestScript) T {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.all[ts]
}

func (p *perScript[T]) set(ts *testscript.TestScript, of T) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all == nil {
		p.all = map[*testscript.TestScript]T{}
	}
	p.all[ts] = of
}

// cmdLab works with practice machines:
//
//	lab start N              a domain controller and N servers; sets DC01, DC01_PIN, DC01_SSH, DC01_KEY, SRV1, ...
//	lab fault MACHINE FAULT  see keyturn-lab fault
//	lab show FILE            writes what the machines look like
//	lab failed ACCOUNT N     N log-ons as ACCOUNT failed so far, anywhere
//	lab stop MACHINE SERVICE stops a service by hand, lab run MACHINE SERVICE starts it
//	lab stopkill MACHINE     kills the job's runner, and the machine's shell, right after the next service stopped
//	lab killrunner MACHINE   kills the job's runner alone at that moment: what runs on the machine goes on
func cmdLab(kind labKind) func(*testscript.TestScript, bool, []string) {
	var fleets perScript[*lab.Fleet]
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) < 2 {
			ts.Fatalf("usage: lab start|fault|show|failed|stopkill|killrunner ...")
		}
		fleet := fleets.get(ts)
		switch args[0] {
		case "start":
			fleets.set(ts, startLab(ts, kind, args[1]))
		case "fault":
			ts.Check(fleet.Fault(args[1], args[2]))
		case "show":
			var b bytes.Buffer
			ts.Check(lab.WriteTable(&b, fleet.View()))
			ts.Check(os.WriteFile(ts.MkAbs(args[1]), b.Bytes(), 0o600))
		case "failed":
			if got := failedLogons(fleet, args[1]); strconv.Itoa(got) != args[2] {
				ts.Fatalf("%d log-ons as %s failed, want %s", got, args[1], args[2])
			}
		case "stop":
			control(ts, fleet.Machine(args[1]), args[2], model.Stop, model.Stopped)
		case "run":
			control(ts, fleet.Machine(args[1]), args[2], model.Start, model.Running)
		case "stopkill":
			fleet.Machine(args[1]).KillAfterNextStop()
			killAfterStop(ts, fleet.Machine(args[1]))
		case "killrunner":
			killAfterStop(ts, fleet.Machine(args[1]))
		default:
			ts.Fatalf("unknown: lab %s", args[0])
		}
	}
}

func startLab(ts *testscript.TestScript, kind labKind, machines string) *lab.Fleet {
	n, err := strconv.Atoi(machines)
	ts.Check(err)
	fleet, err := lab.Start(context.Background(), lab.Options{
		Machines: n, Dir: ts.MkAbs("lab"), Engine: kind.engine, Shell: kind.shell,
		Environment: []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "PSENGINE_CACHE=" + os.Getenv("PSENGINE_CACHE")},
		StartDelay:  50 * time.Millisecond, StopDelay: 30 * time.Millisecond,
		Now: time.Now, Random: rand.Reader,
	})
	ts.Check(err)
	ts.Defer(func() {
		if err := fleet.Close(); err != nil {
			ts.Logf("close the lab: %v", err)
		}
	})
	d, err := fleet.Describe()
	ts.Check(err)
	for _, m := range d.Machines {
		ts.Setenv(m.Name, fmt.Sprintf("%s:%d", m.Host, m.Port))
		ts.Setenv(m.Name+"_PIN", m.Pin)
		ts.Setenv(m.Name+"_LDAPS", fmt.Sprintf("%s:%d", m.Host, m.LDAPSPort))
		ts.Setenv(m.Name+"_SSH", fmt.Sprintf("%s:%d", m.Host, m.SSHPort))
		ts.Setenv(m.Name+"_KEY", m.SSHHostKey)
	}
	return fleet
}

// cmdJSONOne checks that a file is one JSON document: jsonone FILE.
func cmdJSONOne(ts *testscript.TestScript, _ bool, args []string) {
	if !json.Valid([]byte(ts.ReadFile(args[0]))) {
		ts.Fatalf("%s is not one JSON document", args[0])
	}
}

// control is a person at a machine: it returns when the service is in its new state.
func control(ts *testscript.TestScript, m *lab.Machine, service string, verb model.Verb, state model.State) {
	ts.Check(m.Model.Control(service, verb))
	for deadline := time.Now().Add(time.Minute); m.Model.View().Service(service).State != state; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			ts.Fatalf("%s on %s is not %s", service, m.Name(), state)
		}
	}
}

// cmdWindow sets a variable to a restart window: window shut|open VAR.
func cmdWindow(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: window shut|open VAR")
	}
	from := time.Now().UTC().Add(-6 * time.Hour)
	to := from.Add(12 * time.Hour)
	if args[0] == "shut" {
		from, to = to, from
	}
	ts.Setenv(args[1], from.Format("15:04")+"-"+to.Format("15:04")+" UTC")
}

// cmdLabHome makes a vault for a running lab, as the first hour's demo does:
// labhome SRV1 ... maps those machines to svc_app with all types. With -ssh
// first, the machines are reached over SSH.
func cmdLabHome(ts *testscript.TestScript, _ bool, servers []string) {
	do := func(args ...string) { ts.Check(ts.Exec(programName, args...)) }
	overSSH := len(servers) > 0 && servers[0] == "-ssh"
	if overSSH {
		servers = servers[1:]
	}
	do("init", "--kdf-memory", "19456")
	for _, m := range append([]string{"DC01"}, servers...) {
		way := []string{"pamHostname=" + ts.Getenv(m), "c.text.serverPin=" + ts.Getenv(m+"_PIN")}
		if overSSH {
			way = []string{"pamHostname=" + ts.Getenv(m+"_SSH"), "c.text.transport=ssh", "c.text.hostKey=" + ts.Getenv(m+"_KEY")}
		}
		do(append([]string{"record-add", "-rt", "pamMachine", "-t", m, "text.operatingSystem=windows"}, way...)...)
	}
	do("record-add", "-rt", "pamUser", "-t", "LAB admin", `login=LAB\admin`, "password=@lab/admin.password")
	do("record-add", "-rt", "pamUser", "-t", "svc_app", `login=LAB\svc_app`, "password=@lab/svc_app.password")
	do("pam", "config", "edit", "Local Network", "-a", "LAB admin")
	do("pam", "rotation", "edit", "-r", "svc_app", "-rs", "DC01", "-x", "24,2,2,2,2", "-od", "--enable", "--force")
	for _, m := range servers {
		do("pam", "action", "service", "add", "-g", "Embedded", "-m", m, "-u", "svc_app")
	}
}

// failedLogons counts refused log-ons as an account on all machines.
func failedLogons(fleet *lab.Fleet, account string) int {
	n := 0
	for _, m := range fleet.Machines() {
		for _, e := range m.Model.Events() {
			if e.Kind == model.LogonFailed && strings.EqualFold(e.Name, account) {
				n++
			}
		}
	}
	return n
}

// killAfterStop is the worst moment: a service has been stopped, and the runner
// dies before it is started again.
func killAfterStop(ts *testscript.TestScript, m *lab.Machine) {
	m.Front.SetFaults(winrmd.Faults{Latency: 300 * time.Millisecond})
	before := len(m.Model.Events())
	home := ts.Getenv("KEYTURN_HOME")
	killed := make(chan string, 1)
	ts.Defer(func() { ts.Logf("%s", <-killed) }) // the script's log is not for two goroutines
	go func() {
		news := "no service was stopped within a minute"
		defer func() { killed <- news }()
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
			for _, e := range m.Model.Events()[before:] {
				if e.Kind == model.ServiceStopped {
					news = killRunner(home)
					m.Front.SetFaults(winrmd.Faults{})
					return
				}
			}
		}
	}()
}

// killRunner kills the process that holds an account's lock, and says what it did.
func killRunner(home string) string {
	files, err := filepath.Glob(filepath.Join(home, "locks", "*"))
	if err != nil {
		return fmt.Sprintf("find the lock: %v", err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		var owner struct{ PID int }
		if err != nil || json.Unmarshal(data, &owner) != nil || owner.PID == 0 || owner.PID == os.Getpid() {
			continue
		}
		runner, err := os.FindProcess(owner.PID)
		if err == nil {
			err = runner.Kill()
		}
		return fmt.Sprintf("killed runner %d: %v", owner.PID, err)
	}
	return "no runner holds a lock"
}

// cmdSSHD works with a real sshd:
//
//	sshd start            a machine with root and the user svc; sets SSHD and SSHD_KEY, writes root.password and svc.password
//	sshd login FILE       logs in as svc with the password in FILE
//	sshd keys             lets root in with a key: behind a passphrase in root.key and root.passphrase, and in an agent
func cmdSSHD(t *testing.T) func(*testscript.TestScript, bool, []string) {
	t.Helper()
	var servers perScript[*sshtest.Server]
	return func(ts *testscript.TestScript, neg bool, args []string) {
		switch {
		case len(args) == 1 && args[0] == "start":
			s := sshtest.Start(t, sshtest.Options{Users: []sshtest.User{
				{Name: "root", Password: "r00t-Passw0rd"}, {Name: "svc", Password: "0ld-Passw0rd"},
			}})
			servers.set(ts, s)
			ts.Setenv("SSHD", fmt.Sprintf("%s:%d", s.Host, s.Port))
			ts.Setenv("SSHD_KEY", s.HostKey)
			ts.Check(os.WriteFile(ts.MkAbs("root.password"), []byte("r00t-Passw0rd"), 0o600))
			ts.Check(os.WriteFile(ts.MkAbs("svc.password"), []byte("0ld-Passw0rd"), 0o600))
		case len(args) == 2 && args[0] == "login":
			err := sshLogin(servers.get(ts), strings.TrimSpace(ts.ReadFile(args[1])))
			if (err == nil) == neg {
				ts.Fatalf("log in with %s: %v", args[1], err)
			}
		case len(args) == 1 && args[0] == "keys":
			rootKeys(ts, servers.get(ts))
		default:
			ts.Fatalf("usage: sshd start | sshd keys | [!] sshd login FILE")
		}
	}
}
