package model

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"keyturn/pkg/secret"
)

// maxRequest bounds one line of the protocol: task XML is the largest thing in it.
const maxRequest = 1 << 20

// Serve answers protocol.md on a Unix socket until ctx ends. The socket is
// for its owner only, and is removed in the end.
func (m *Machine) Serve(ctx context.Context, socket string) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("model of %s: listen: %w", m.spec.Name, err)
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		_ = l.Close()
		return fmt.Errorf("model of %s: protect the socket: %w", m.spec.Name, err)
	}
	return m.ServeListener(ctx, l)
}

// ServeListener answers protocol.md on l until ctx ends, then closes l and
// waits for its connections to end.
func (m *Machine) ServeListener(ctx context.Context, l net.Listener) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	for {
		c, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = c.Close()
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("model of %s: accept: %w", m.spec.Name, err)
		}
		wg.Go(func() { m.serveConn(ctx, c) })
	}
}

func (m *Machine) serveConn(ctx context.Context, c net.Conn) {
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	defer func() { _ = c.Close() }()
	var locks held
	defer locks.release()
	in := bufio.NewScanner(c)
	in.Buffer(make([]byte, 4096), maxRequest)
	for in.Scan() {
		answer, err := m.answer(ctx, in.Bytes(), &locks)
		if errors.Is(err, ErrCut) {
			return // as a machine that is gone: no answer at all
		}
		b, err := json.Marshal(answer)
		if err != nil {
			return
		}
		if _, err := c.Write(append(b, '\n')); err != nil {
			return
		}
	}
}

// Held are the mutexes of one connection: a process that ends gives them back.
type held []func()

func (h *held) release() {
	for _, release := range *h {
		release()
	}
}

func (h *held) take(m *Machine, name string) (any, error) {
	release, ok, err := m.Lock(name)
	if ok {
		*h = append(*h, release)
	}
	return fields{"ok": ok}, err
}

type request struct {
	Call      string `json:"call"`
	Name      string `json:"name"`
	SID       string `json:"sid"`
	User      string `json:"user"`
	Domain    string `json:"domain"`
	Password  string `json:"password"`
	Type      int    `json:"type"`
	StartName string `json:"startName"`
	Verb      Verb   `json:"verb"`
	PID       int    `json:"pid"`
	Ms        int64  `json:"ms"`
	Path      string `json:"path"`
	XML       string `json:"xml"`
	Flags     int    `json:"flags"`
	LogonType int    `json:"logonType"`
	Old       string `json:"old"`
	New       string `json:"new"`
	Changes   []struct {
		Kind     string `json:"kind"`
		Name     string `json:"name"`
		Password string `json:"password"`
	} `json:"changes"`
}

type poolAnswer struct {
	Name             string `json:"name"`
	IdentityType     int    `json:"identityType"`
	UserName         string `json:"userName"`
	Password         string `json:"password"`
	LogonType        string `json:"logonType"`
	State            string `json:"state"`
	Workers          []int  `json:"workers"`
	DisallowRotation bool   `json:"disallowRotation"`
	AlwaysRunning    bool   `json:"alwaysRunning"`
}

type storedAnswer struct {
	Site      string `json:"site,omitempty"`
	App       string `json:"app,omitempty"`
	Path      string `json:"path,omitempty"`
	Location  string `json:"location,omitempty"`
	WebConfig bool   `json:"webConfig,omitempty"`
	Type      int    `json:"identityType,omitempty"`
	UserName  string `json:"userName"`
	Password  string `json:"password"`
}

type fields map[string]any

// answer carries out one line. The error is ErrCut or nil: all else is an answer.
func (m *Machine) answer(ctx context.Context, line []byte, locks *held) (any, error) {
	var r request
	if ok := json.Unmarshal(line, &r) == nil; !ok {
		return fields{"fault": "the request is not JSON"}, nil
	}
	handle, ok := calls[r.Call]
	switch r.Call {
	case "sleep":
		handle, ok = func(m *Machine, r request) (any, error) { return fields{}, m.sleep(ctx, r.Ms) }, true
	case "lock":
		handle, ok = func(m *Machine, r request) (any, error) { return locks.take(m, r.Name) }, true
	}
	if !ok {
		handle, ok = throwawayCalls[r.Call]
	}
	if !ok {
		return fields{"fault": fmt.Sprintf("unknown call %.40q", r.Call)}, nil
	}
	a, err := handle(m, r)
	switch {
	case errors.Is(err, ErrCut):
		return nil, err
	case err != nil:
		return failure(err), nil
	}
	return a, nil
}

// maxSleep bounds one sleep of a script.
const maxSleep = 10 * time.Minute

// sleep lets time pass on the machine, for a script that waits.
func (m *Machine) sleep(ctx context.Context, ms int64) error {
	if ms < 0 || ms > maxSleep.Milliseconds() {
		return InvalidParameter
	}
	_ = m.clock.Sleep(ctx, time.Duration(ms)*time.Millisecond) // the connection ends with ctx
	return m.call(func(time.Time) error { return nil })
}

func failure(err error) fields {
	if code, ok := errors.AsType[Errno](err); ok {
		return fields{"error": uint32(code)}
	}
	if hr, ok := errors.AsType[HResult](err); ok {
		return fields{"hresult": uint32(hr)}
	}
	return fields{"fault": err.Error()}
}

// calls are the calls of protocol.md.
var calls = map[string]func(m *Machine, r request) (any, error){
	"machine": func(m *Machine, _ request) (any, error) { return m.Info() },
	"clock": func(m *Machine, _ request) (any, error) {
		return fields{"ms": m.clock.Now().UnixMilli()}, m.call(func(time.Time) error { return nil })
	},
	"translate": func(m *Machine, r request) (any, error) { return m.Translate(r.Name) },
	"account":   func(m *Machine, r request) (any, error) { return m.Account(r.SID) },
	"logon": func(m *Machine, r request) (any, error) {
		return coded(m.Logon(r.User, r.Domain, text(r.Password), r.Type))
	},
	"services": func(m *Machine, _ request) (any, error) {
		all, err := m.Services()
		return fields{"services": all}, err
	},
	"service": func(m *Machine, r request) (any, error) { return m.Service(r.Name) },
	"service.change": func(m *Machine, r request) (any, error) {
		return coded(m.ChangeService(r.Name, r.StartName, text(r.Password)))
	},
	"service.control": func(m *Machine, r request) (any, error) { return fields{}, m.Control(r.Name, r.Verb) },
	"process": func(m *Machine, r request) (any, error) {
		owner, started, err := m.Process(r.PID)
		return fields{"ownerSid": owner, "started": Stamp(started)}, err
	},
	"process.kill": func(m *Machine, r request) (any, error) { return fields{}, m.Kill(r.PID) },
	"right.add":    func(m *Machine, r request) (any, error) { return coded(m.GrantRight(r.SID, r.Name)) },
	"tasks": func(m *Machine, _ request) (any, error) {
		all, err := m.Tasks()
		return fields{"tasks": all}, err
	},
	"task.register": func(m *Machine, r request) (any, error) {
		return fields{}, m.RegisterTask(Registration{
			Path: r.Path, XML: r.XML, Flags: r.Flags, User: r.User, Password: text(r.Password), LogonType: r.LogonType,
		})
	},
	"processes": func(m *Machine, _ request) (any, error) {
		all, err := m.Processes()
		return fields{"processes": all}, err
	},
	"applications": func(m *Machine, _ request) (any, error) {
		all, err := m.Applications()
		return fields{"applications": all}, err
	},
	"elsewhere": func(m *Machine, _ request) (any, error) {
		all, err := m.Elsewhere()
		return fields{"places": all}, err
	},
	"pool.failures": func(m *Machine, _ request) (any, error) {
		all, err := m.PoolFailures()
		return fields{"events": all}, err
	},
	"iis":          answerIIS,
	"pools":        answerPools,
	"pools.commit": answerCommit,
	"pool.recycle": func(m *Machine, r request) (any, error) { return fields{}, m.RecyclePool(r.Name) },
	"password.change": func(m *Machine, r request) (any, error) {
		return coded(m.ChangePassword(r.User, text(r.Old), text(r.New)))
	},
	"password.reset": func(m *Machine, r request) (any, error) {
		return coded(m.ResetPassword(r.User, text(r.New)))
	},
	"account.unlock": func(m *Machine, r request) (any, error) { return coded(m.UnlockAccount(r.User)) },
}

func text(s string) secret.Value { return secret.New([]byte(s)) }

func coded[C Errno | int](code C, err error) (any, error) { return fields{"code": code}, err }

func answerPools(m *Machine, _ request) (any, error) {
	pools, err := m.Pools()
	all := []poolAnswer{}
	for _, p := range pools {
		all = append(all, poolAnswer{
			Name: p.Name, IdentityType: p.IdentityType, UserName: p.UserName, Password: string(p.Password.Reveal()),
			LogonType: p.LogonType, State: p.State, Workers: p.Workers,
			DisallowRotation: p.DisallowRotation, AlwaysRunning: p.AlwaysRunning,
		})
	}
	return fields{"pools": all}, err
}

func answerIIS(m *Machine, _ request) (any, error) {
	v, err := m.IIS()
	directories, anonymous := []storedAnswer{}, []storedAnswer{}
	for _, d := range v.Directories {
		directories = append(directories, storedAnswer{
			Site: d.Site, App: d.App, Path: d.Path, UserName: d.UserName, Password: string(d.Password.Reveal()),
		})
	}
	for _, a := range v.Anonymous {
		anonymous = append(anonymous, storedAnswer{
			Location: a.Location, WebConfig: a.WebConfig, UserName: a.UserName, Password: string(a.Password.Reveal()),
		})
	}
	return fields{
		"shared": v.Shared, "directories": directories, "anonymous": anonymous,
		"poolDefaults": storedAnswer{
			Type: v.PoolDefaults.IdentityType, UserName: v.PoolDefaults.UserName, Password: string(v.PoolDefaults.Password.Reveal()),
		},
		"directoryDefaults": storedAnswer{UserName: v.DirectoryDefaults.UserName, Password: string(v.DirectoryDefaults.Password.Reveal())},
	}, err
}

func answerCommit(m *Machine, r request) (any, error) {
	var changes []IISChange
	for _, c := range r.Changes {
		changes = append(changes, IISChange{c.Kind, c.Name, text(c.Password)})
	}
	return fields{}, m.CommitIIS(changes)
}
