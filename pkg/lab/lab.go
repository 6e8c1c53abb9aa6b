// Package lab is a practice domain on this computer: a domain controller and
// some servers, each with its own WinRM and SSH service on loopback, that behave
// as Windows does when the password of a service account changes. It is a
// simulation, for learning and for tests: nothing here is a Windows machine.
//
// It puts together the model (pkg/lab/model), the services (pkg/lab/winrmd,
// pkg/lab/sshd) and what runs the shipped script: the Go answerer
// (pkg/lab/script), or a real PowerShell engine with stand-ins for Windows
// (pkg/lab/standins). The product never imports it, and it knows nothing of the
// vault, jobs and commands of the product.
package lab

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"keyturn/pkg/lab/model"
	"keyturn/pkg/lab/script"
	"keyturn/pkg/lab/sshd"
)

// MaxMachines is how many servers a lab may have beside its domain controller.
const MaxMachines = 50

// An answer carries out one call of the shipped script: the frame comes in, the
// lines go out, and the exit code is returned. When ctx ends it has been killed.
type answer func(ctx context.Context, m *model.Machine, journalDir string, in io.Reader, out io.Writer) int

// Options say what lab to start.
type Options struct {
	Machines int // servers beside DC01, 1 to MaxMachines
	// Fleet is served instead of the practice fleet, when it is given: machines of a
	// test's own. Its admin is PracticeAdmin; Machines, the delays and Clock, which
	// are the practice fleet's, do not matter then.
	Fleet *model.Fleet
	Dir   string // where the lab keeps its files; made when missing
	// Engine is a PowerShell engine that understands PSENGINE_STANDINS; "" answers
	// in Go. Environment is what the engine inherits: PATH, HOME, PSENGINE_CACHE.
	Engine      string
	Environment []string
	// Shell is the default shell of the machines' SSH service; "" is cmd.
	Shell sshd.Shell
	// StartDelay and StopDelay are how long services take to start and stop.
	StartDelay time.Duration
	StopDelay  time.Duration
	Now        func() time.Time // required
	Clock      model.Clock      // nil is real time by Now
	Random     io.Reader        // nil is crypto/rand
	Logger     *slog.Logger     // nil discards

	answer answer // tests put their own script here
}

// A Fleet is a running lab.
type Fleet struct {
	Model    *model.Fleet
	dir      string
	machines []*Machine
	sockets  string // temporary folder for sockets whose path would be too long, or ""
	control  string
	cancel   context.CancelFunc
	serving  sync.WaitGroup

	credentials *credentials
	closing     sync.Once
	closed      error
}

// Start builds the practice fleet and serves it until Close, or until ctx ends.
func Start(ctx context.Context, o Options) (*Fleet, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	if err := prepare(ctx, o.Dir); err != nil {
		return nil, err
	}
	machines, err := o.fleet()
	if err != nil {
		return nil, err
	}
	others, err := newCredentials(o.Now)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	f := &Fleet{Model: machines, dir: o.Dir, cancel: cancel, credentials: others}
	if err := f.start(ctx, o); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// fleet is the fleet to serve.
func (o Options) fleet() (*model.Fleet, error) {
	if o.Fleet != nil {
		return o.Fleet, nil
	}
	return model.Practice(model.PracticeOptions{
		Servers: o.Machines, Clock: o.Clock, Random: o.Random, StartDelay: o.StartDelay, StopDelay: o.StopDelay,
	})
}

// complete checks the options and fills in what was left out.
func (o Options) complete() (Options, error) {
	if o.Fleet == nil && (o.Machines < 1 || o.Machines > MaxMachines) {
		return o, fmt.Errorf("a lab has 1 to %d machines, not %d", MaxMachines, o.Machines)
	}
	if o.Dir == "" || o.Now == nil {
		return o, errors.New("a lab needs a folder and a clock")
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return o, fmt.Errorf("folder of the lab: %w", err)
	}
	o.Dir = dir
	if o.Clock == nil {
		o.Clock = model.WallClock(o.Now)
	}
	if o.Random == nil {
		o.Random = rand.Reader
	}
	if o.answer == nil {
		o.answer = script.Answer
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

// prepare makes the folder, and refuses one in which a lab is running.
func prepare(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the lab's folder: %w", err)
	}
	if l, err := ReadDescription(dir); err == nil {
		if conn, err := dialControl(ctx, l.Control); err == nil {
			_ = conn.Close()
			return fmt.Errorf("a lab is running in %s already; nothing was changed", dir)
		}
		_ = os.Remove(l.Control)
	}
	return nil
}

func (f *Fleet) start(ctx context.Context, o Options) error {
	run, err := f.scripts(o)
	if err != nil {
		return err
	}
	for _, m := range f.Model.Machines() {
		machine, err := f.startMachine(ctx, m, o, run)
		if err != nil {
			return err
		}
		f.machines = append(f.machines, machine)
	}
	if err := f.serveControl(ctx); err != nil {
		return err
	}
	return f.describe()
}

// Machines are the domain controller and the servers, in that order.
func (f *Fleet) Machines() []*Machine { return f.machines }

// Machine finds a machine by name, or returns nil.
func (f *Fleet) Machine(name string) *Machine {
	for _, m := range f.machines {
		if strings.EqualFold(m.Name(), name) {
			return m
		}
	}
	return nil
}

// View shows every machine as it is now.
func (f *Fleet) View() []model.MachineView {
	views := make([]model.MachineView, 0, len(f.machines))
	for _, m := range f.machines {
		views = append(views, m.Model.View())
	}
	return views
}

// Close stops everything, waits for it and removes the sockets. The other files
// stay.
func (f *Fleet) Close() error {
	f.closing.Do(func() {
		f.cancel()
		var errs []error
		for _, m := range f.machines {
			errs = append(errs, m.close())
		}
		f.serving.Wait()
		if f.control != "" {
			errs = append(errs, removeSocket(f.control))
		}
		if f.sockets != "" {
			errs = append(errs, os.RemoveAll(f.sockets))
		}
		f.closed = errors.Join(errs...)
	})
	return f.closed
}

func removeSocket(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove socket: %w", err)
	}
	return nil
}

// maxSocketPath is what fits into a socket's address everywhere.
const maxSocketPath = 100

// socketPath is dir/name, or a place in a folder of its own when that is too long.
func (f *Fleet) socketPath(dir, name string) (string, error) {
	path := filepath.Join(dir, name)
	if len(path) <= maxSocketPath {
		return path, nil
	}
	if f.sockets == "" {
		short, err := os.MkdirTemp("", "keyturn-lab-")
		if err != nil {
			return "", fmt.Errorf("make a folder for sockets: %w", err)
		}
		f.sockets = short
	}
	return filepath.Join(f.sockets, strconv.Itoa(len(f.machines))+"-"+name), nil
}
