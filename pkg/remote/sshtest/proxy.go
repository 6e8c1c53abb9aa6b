package sshtest

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
)

// A proxy stands between the client and sshd, to break what lies between.
type proxy struct {
	to          string
	listener    net.Listener
	connections atomic.Int64
	refuse      atomic.Int64

	wg    sync.WaitGroup
	mu    sync.Mutex
	open  map[*link]bool
	muted bool
	ended bool
}

// A link is one connection through the proxy.
type link struct {
	client, server net.Conn
}

func (l *link) close() {
	_ = l.client.Close()
	_ = l.server.Close()
}

func newProxy(ctx context.Context, to string) (*proxy, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{to: to, listener: l, open: map[*link]bool{}}
	p.wg.Go(p.serve)
	return p, nil
}

func (p *proxy) address() string { return p.listener.Addr().String() }

func (p *proxy) serve() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.connections.Add(1)
		if p.refuse.Add(-1) >= 0 {
			_ = c.Close()
			continue
		}
		p.refuse.Store(0)
		server, err := net.Dial("tcp", p.to) //nolint:noctx // loopback, and ended by close
		if err != nil {
			_ = c.Close()
			continue
		}
		p.connect(&link{client: c, server: server})
	}
}

func (p *proxy) connect(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		l.close()
		return
	}
	p.open[l] = true
	p.wg.Go(func() { p.forward(l, l.client, l.server, false) })
	p.wg.Go(func() { p.forward(l, l.server, l.client, true) })
}

// forward copies until one side ends, and then ends both: SSH knows no half.
//
//nolint:revive // mutable is a fact about the direction
func (p *proxy) forward(l *link, from, to net.Conn, mutable bool) {
	defer func() {
		p.mu.Lock()
		delete(p.open, l)
		p.mu.Unlock()
		l.close()
	}()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 && (!mutable || !p.isMuted()) {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// links is the number of connections that are open.
func (p *proxy) links() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.open)
}

func (p *proxy) isMuted() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.muted
}

func (p *proxy) mute() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.muted = true
}

func (p *proxy) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.muted = false
	for l := range p.open {
		l.close()
	}
}

func (p *proxy) close() {
	_ = p.listener.Close()
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	p.drop()
	p.wg.Wait()
}
