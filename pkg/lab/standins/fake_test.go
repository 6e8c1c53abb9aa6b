package standins_test

import (
	"bufio"
	"encoding/json"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// errno and hresult are failures of a call of the model protocol.
type (
	errno   int
	hresult uint32
	msg     = map[string]any
)

type service struct {
	Display, StartName, State, StartMode string
	PID                                  int
	Started                              string
	Type                                 int // 16 own process
	NoStop, CanPause                     bool
	DependsOn                            []string

	password    string
	changeCode  int
	startErrors []int  // of the next starts
	staysIn     string // a state that a stop never leaves
	dies        bool   // is gone on the second look after a start
	looks       int
	starts      int
}

// A fake is a small model of one machine: see pkg/lab/model/protocol.md. The
// real one has time and faults; this one says what a test put into it.
type fake struct {
	mu       sync.Mutex
	machine  msg
	sids     map[string]string // lower-case name to SID
	accounts map[string]msg
	password map[string]string // lower-case sam to password
	codes    map[int]int       // logon type to code
	services map[string]*service
	tasks    map[string]msg
	pools    map[string]msg
	register hresult // of the next registrations
	calls    []string
	logons   []msg
	pid      int
	ms       int64 // the machine's time
}

const (
	userSID  = "S-1-5-21-1-1105"
	adminSID = "S-1-5-21-9-1000"
	localSID = "S-1-5-21-9-1001"
)

func newFake() *fake {
	return &fake{
		machine: msg{
			"name": "SRV1", "domain": "CORP", "dc": false, "guid": "11111111-2222-3333-4444-555555555555", "os": "10.0.17763", "user": `SRV1\admin`,
			"userSid": adminSID, "elevated": true, "lockoutThreshold": 5, "storageDisabled": false, "iis": true,
		},
		sids: map[string]string{
			`corp\svc_app`: userSID, "svc_app@corp.example.com": userSID, `srv1\svc_app`: localSID, "svc_app": localSID,
			`corp\another`: "S-1-5-21-1-1106", `nt authority\localservice`: "S-1-5-19", `corp\gapp$`: "S-1-5-21-1-1200",
		},
		accounts: map[string]msg{
			userSID:  {"sam": "svc_app", "domain": "CORP", "scope": "domain", "disabled": false, "locked": false, "mustChange": false},
			localSID: {"sam": "svc_app", "domain": "SRV1", "scope": "local", "disabled": false, "locked": true, "mustChange": false, "badPwdCount": 3},
		},
		password: map[string]string{"svc_app": "new"},
		codes:    map[int]int{},
		services: map[string]*service{},
		tasks:    map[string]msg{},
		pools:    map[string]msg{},
		pid:      5000,
	}
}

func (f *fake) serve(t *testing.T) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s")
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { f.conn(c) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return socket
}

func (f *fake) conn(c net.Conn) {
	defer func() { _ = c.Close() }()
	in := bufio.NewScanner(c)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var r msg
		if json.Unmarshal(in.Bytes(), &r) != nil {
			return
		}
		var answer any
		switch a := f.answer(r).(type) {
		case errno:
			answer = msg{"error": int(a)}
		case hresult:
			answer = msg{"hresult": uint32(a)}
		case nil:
			answer = msg{"fault": "unknown call"}
		default:
			answer = a
		}
		b, _ := json.Marshal(answer)
		_, _ = c.Write(append(b, '\n'))
	}
}

func (f *fake) answer(r msg) any {
	f.mu.Lock()
	defer f.mu.Unlock()
	text := func(k string) string { s, _ := r[k].(string); return s }
	call := text("call")
	switch call {
	case "machine":
		return f.machine
	case "translate":
		sid, ok := f.sids[strings.ToLower(text("name"))]
		if !ok {
			return errno(1332)
		}
		return msg{"sid": sid, "account": text("name")}
	case "account":
		if a, ok := f.accounts[text("sid")]; ok {
			return a
		}
		return errno(1332)
	case "clock":
		return msg{"ms": f.ms}
	case "sleep":
		f.ms += int64(r["ms"].(float64))
		return msg{}
	case "lock":
		return msg{"ok": true}
	case "logon":
		f.logons = append(f.logons, r)
		return msg{"code": f.logon(text("user"), text("password"), int(r["type"].(float64)))}
	case "process":
		for _, s := range f.services {
			if s.PID != 0 && s.PID == int(r["pid"].(float64)) {
				return msg{"ownerSid": userSID, "started": s.Started}
			}
		}
		return errno(87)
	case "password.change", "password.reset":
		f.calls = append(f.calls, call+" "+text("user"))
		if call == "password.change" && f.password[text("user")] != text("old") {
			return msg{"code": 86}
		}
		if len(text("new")) < 3 {
			return msg{"code": 2245}
		}
		f.password[text("user")] = text("new")
		return msg{"code": 0}
	case "tasks", "task.register":
		return f.taskCall(call, r, text)
	case "iis", "applications", "processes", "pool.failures", "elsewhere":
		return msg{}
	case "pools", "pools.commit", "pool.recycle":
		return f.poolCall(call, r, text)
	}
	return f.serviceCall(call, text)
}

func (f *fake) logon(user, password string, kind int) int {
	if f.password[strings.ToLower(user)] != password {
		return 1326
	}
	return f.codes[kind]
}

func (f *fake) serviceCall(call string, text func(string) string) any {
	if call == "services" {
		all := []msg{}
		for n := range f.services {
			all = append(all, f.view(n))
		}
		return msg{"services": all}
	}
	s, ok := f.services[text("name")]
	if !ok {
		return errno(1060)
	}
	switch call {
	case "service":
		f.tick(s)
		return f.view(text("name"))
	case "service.change":
		f.calls = append(f.calls, "change "+text("name")+" "+text("startName"))
		if s.changeCode == 0 {
			s.password = text("password")
		}
		return msg{"code": s.changeCode}
	case "service.control":
		f.calls = append(f.calls, text("verb")+" "+text("name"))
		return f.control(s, text("verb"))
	}
	return nil
}

func (f *fake) tick(s *service) {
	switch {
	case s.State == "StopPending" && s.staysIn == "":
		s.State, s.PID, s.Started = "Stopped", 0, ""
	case s.State == "StartPending":
		s.State = "Running"
	case s.State == "PausePending":
		s.State = "Paused"
	case s.State == "Running" && s.dies && s.starts > 0:
		if s.looks++; s.looks > 2 {
			s.State, s.PID, s.Started = "Stopped", 0, ""
		}
	}
}

func (f *fake) control(s *service, verb string) any {
	switch verb {
	case "stop":
		s.State = "StopPending"
	case "pause":
		s.State = "PausePending"
	case "start":
		if len(s.startErrors) > 0 {
			e := s.startErrors[0]
			s.startErrors = s.startErrors[1:]
			return errno(e)
		}
		f.pid++
		s.starts++
		s.State, s.PID, s.Started = "StartPending", f.pid, "2026-05-01T10:00:00Z"
	}
	return msg{}
}

func (f *fake) view(name string) msg {
	s := f.services[name]
	kind := s.Type
	if kind == 0 {
		kind = 16
	}
	dependents := []string{}
	for n, o := range f.services {
		if slices.Contains(o.DependsOn, name) {
			dependents = append(dependents, n)
		}
	}
	slices.Sort(dependents)
	return msg{
		"name": name, "display": s.Display, "startName": s.StartName, "state": s.State, "startMode": s.StartMode, "pid": s.PID, "started": s.Started,
		"canStop": !s.NoStop, "canPause": s.CanPause, "type": kind, "dependsOn": append([]string{}, s.DependsOn...), "dependents": dependents,
	}
}

func (f *fake) taskCall(call string, r msg, text func(string) string) any {
	if call == "tasks" {
		all := []msg{}
		for _, t := range f.tasks {
			all = append(all, t)
		}
		slices.SortFunc(all, func(a, b msg) int { return strings.Compare(a["path"].(string), b["path"].(string)) })
		return msg{"tasks": all}
	}
	f.calls = append(f.calls, "register "+text("path"))
	if f.register != 0 {
		return f.register
	}
	t := f.tasks[text("path")]
	t["password"], t["flags"], t["user"], t["type"] = text("password"), r["flags"], text("user"), r["logonType"]
	return msg{}
}

func (f *fake) poolCall(call string, r msg, text func(string) string) any {
	switch call {
	case "pools":
		all := []msg{}
		for _, p := range f.pools {
			all = append(all, p)
		}
		return msg{"pools": all}
	case "pools.commit":
		f.calls = append(f.calls, "commit")
		for _, c := range r["changes"].([]any) {
			change := c.(msg)
			f.pools[change["name"].(string)]["password"] = change["password"]
		}
	case "pool.recycle":
		f.calls = append(f.calls, "recycle "+text("name"))
		f.pid++
		f.pools[text("name")]["workers"] = []int{f.pid}
	}
	return msg{}
}

func running(startName string, pid int, needs ...string) *service {
	return &service{
		Display: "Display of " + startName, StartName: startName, State: "Running", StartMode: "Auto", PID: pid,
		Started: time.Date(2026, 5, 1, 8, 0, pid%60, 0, time.UTC).Format(time.RFC3339), DependsOn: needs,
	}
}
