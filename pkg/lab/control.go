package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"keyturn/pkg/lab/model"
)

// The control socket: one line of JSON asks, one answers.
type controlRequest struct {
	Do      string `json:"do"` // show, fault
	Machine string `json:"machine,omitempty"`
	Fault   string `json:"fault,omitempty"`
}

type controlAnswer struct {
	Error    string              `json:"error,omitempty"`
	Machines []model.MachineView `json:"machines,omitempty"`
}

const (
	maxControl     = 16 << 20
	controlTimeout = 30 * time.Second
)

func listenUnix(ctx context.Context, socket string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("listen on a socket: %w", err)
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("protect a socket: %w", err)
	}
	return l, nil
}

// serveControl answers the control socket until ctx ends.
func (f *Fleet) serveControl(ctx context.Context) error {
	socket, err := f.socketPath(f.dir, controlSocket)
	if err != nil {
		return err
	}
	if err := removeSocket(socket); err != nil {
		return err
	}
	l, err := listenUnix(ctx, socket)
	if err != nil {
		return err
	}
	f.control = socket
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	f.serving.Go(func() {
		defer stop()
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			f.serving.Go(func() { f.serveControlConn(ctx, conn) })
		}
	})
	return nil
}

func (f *Fleet) serveControlConn(ctx context.Context, conn net.Conn) {
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	in := bufio.NewScanner(conn)
	for in.Scan() {
		var q controlRequest
		a := controlAnswer{Error: "not a request of this lab"}
		if json.Unmarshal(in.Bytes(), &q) == nil {
			a = f.obey(q)
		}
		if json.NewEncoder(conn).Encode(a) != nil {
			return
		}
	}
}

// obey carries out one request.
func (f *Fleet) obey(q controlRequest) controlAnswer {
	switch q.Do {
	case "show":
		return controlAnswer{Machines: f.View()}
	case "fault":
		if err := f.Fault(q.Machine, q.Fault); err != nil {
			return controlAnswer{Error: err.Error()}
		}
		return controlAnswer{}
	default:
		return controlAnswer{Error: fmt.Sprintf("this lab does not know how to %q", q.Do)}
	}
}

func dialControl(ctx context.Context, socket string) (net.Conn, error) {
	d := net.Dialer{Timeout: controlTimeout}
	return d.DialContext(ctx, "unix", socket)
}

// ask puts one request to the lab that runs in dir.
func ask(ctx context.Context, dir string, q controlRequest) (controlAnswer, error) {
	d, err := ReadDescription(dir)
	if err != nil {
		return controlAnswer{}, err
	}
	conn, err := dialControl(ctx, d.Control)
	if err != nil {
		return controlAnswer{}, fmt.Errorf("no lab is running in %s (start one with: keyturn-lab start): %w", dir, err)
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if err := json.NewEncoder(conn).Encode(q); err != nil {
		return controlAnswer{}, fmt.Errorf("ask the lab: %w", err)
	}
	in := bufio.NewScanner(conn)
	in.Buffer(make([]byte, 64<<10), maxControl)
	if !in.Scan() {
		return controlAnswer{}, fmt.Errorf("the lab in %s did not answer", dir)
	}
	var a controlAnswer
	if err := json.Unmarshal(in.Bytes(), &a); err != nil {
		return controlAnswer{}, fmt.Errorf("read the lab's answer: %w", err)
	}
	if a.Error != "" {
		return controlAnswer{}, errors.New(a.Error)
	}
	return a, nil
}

// AskView asks the lab that runs in dir what its machines look like.
func AskView(ctx context.Context, dir string) ([]model.MachineView, error) {
	a, err := ask(ctx, dir, controlRequest{Do: "show"})
	return a.Machines, err
}

// AskFault has the lab that runs in dir do something to a machine.
func AskFault(ctx context.Context, dir, machine, fault string) error {
	_, err := ask(ctx, dir, controlRequest{Do: "fault", Machine: machine, Fault: fault})
	return err
}
