package model_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"keyturn/pkg/lab/model"
)

// serve starts the protocol for m and returns a way to ask it.
func serve(t *testing.T, m *model.Machine) func(request string) string {
	t.Helper()
	// A socket's path must be short: t.TempDir may not be.
	dir, err := os.MkdirTemp("", "ktm") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "m")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.ServeListener(ctx, l) }()
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		_ = c.Close()
	})
	in := bufio.NewReader(c)
	return func(request string) string {
		if _, err := c.Write([]byte(request + "\n")); err != nil {
			return "closed"
		}
		line, err := in.ReadString('\n')
		if err != nil {
			return "closed"
		}
		return strings.TrimSpace(line)
	}
}

func TestProtocol(t *testing.T) {
	t.Parallel()
	f, _ := fleet(t, 1)
	m := f.Servers[0]
	ask := serve(t, m)
	password, _ := json.Marshal(string(f.Service.Reveal()))
	rows := []struct{ request, want string }{
		{`{"call":"machine"}`, `"name":"SRV1"`},
		{`{"call":"translate","name":"LAB\\svc_app"}`, `"account":"LAB\\svc_app"`},
		{`{"call":"translate","name":"nobody"}`, `{"error":1332}`},
		{`{"call":"logon","user":"svc_app","domain":"LAB","password":` + string(password) + `,"type":5}`, `{"code":0}`},
		{`{"call":"logon","user":"svc_app","domain":"LAB","password":"x","type":5}`, `{"code":1326}`},
		{`{"call":"services"}`, `"name":"OrdersApi"`},
		{`{"call":"service","name":"ordersapi"}`, `"dependents":["OrdersMonitor"]`},
		{`{"call":"service","name":"gone"}`, `{"error":1060}`},
		{`{"call":"service.control","name":"OrdersApi","verb":"stop"}`, `{"error":1051}`},
		{`{"call":"service.control","name":"OrdersMonitor","verb":"stop"}`, `{}`},
		{`{"call":"service.change","name":"OrdersApi","startName":"LAB\\svc_app","password":"x"}`, `{"code":0}`},
		{`{"call":"process","pid":1}`, `{"error":87}`},
		{`{"call":"tasks"}`, `Nightly export`},
		{`{"call":"task.register","path":"\\gone","xml":"<Task xmlns=\"http://schemas.microsoft.com/windows/2004/02/mit/task\"/>","flags":52}`, `{"hresult":2147942402}`},
		{`{"call":"pools"}`, `"identityType":3`},
		{`{"call":"pools.commit","changes":[{"name":"Orders Old","password":"y"}]}`, `{}`},
		{`{"call":"iis"}`, `"directories":[{"site":"Orders","app":"/","path":"/files","userName":"LAB\\svc_app"`},
		{`{"call":"pools.commit","changes":[{"kind":"iis_vdir","name":"orders/FILES","password":"y"}]}`, `{}`},
		{`{"call":"iis"}`, `"path":"/files","userName":"LAB\\svc_app","password":"y"`},
		{`{"call":"pools.commit","changes":[{"kind":"iis_anon","name":"Orders/public","password":"y"}]}`, `{}`},
		{`{"call":"pools.commit","changes":[{"kind":"iis_anon","name":"Orders","password":"y"}]}`, `{"hresult":2147942402}`},
		{`{"call":"processes"}`, `"image":"ordersapi.exe"`},
		{`{"call":"applications"}`, `{"applications":[]}`},
		{`{"call":"elsewhere"}`, `{"places":{}}`},
		{`{"call":"pool.failures"}`, `{"events":[]}`},
		{`{"call":"pool.recycle","name":"Orders Old"}`, `{"hresult":2147943462}`},
		{`{"call":"password.reset","user":"svc_app","new":"short"}`, `{"code":2245}`},
		{`{"call":"boom"}`, `"fault"`},
		{`nonsense`, `"fault"`},
	}
	for _, r := range rows {
		if got := ask(r.request); !strings.Contains(got, r.want) {
			t.Errorf("%s\n got %s\nwant %s", r.request, got, r.want)
		}
	}
	m.Cut()
	if got := ask(`{"call":"machine"}`); got != "closed" {
		t.Errorf("a machine that is cut off answered %s", got)
	}
}

func TestServeMakesAPrivateSocket(t *testing.T) {
	t.Parallel()
	f, _ := fleet(t, 0)
	dir, err := os.MkdirTemp("", "ktm") //nolint:usetesting // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.DC.Serve(ctx, filepath.Join(dir, "m")); err != nil && ctx.Err() == nil {
		t.Fatal(err)
	}
}

func TestOversizedRequestEndsTheConnection(t *testing.T) {
	t.Parallel()
	f, _ := fleet(t, 0)
	ask := serve(t, f.DC)
	if got := ask(`{"call":"machine","name":"` + strings.Repeat("a", 2<<20) + `"}`); got != "closed" {
		t.Fatalf("got %.60s", got)
	}
}

func FuzzProtocolLine(f *testing.F) {
	f.Add([]byte(`{"call":"services"}`))
	f.Add([]byte(`{"call":"task.register","path":"\\x","xml":"<","flags":2}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		fl, _ := fleet(t, 1)
		if _, err := model.AnswerLine(fl.Servers[0], line); err != nil {
			t.Fatal(err)
		}
	})
}
