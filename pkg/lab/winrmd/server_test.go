package winrmd

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"keyturn/pkg/remote/remotetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// desk is a small host: two accounts, a few commands.
type desk struct {
	mu       sync.Mutex
	asked    []string
	password string        // "" is the usual one
	began    chan struct{} // receives one value when "hang" begins, when set
}

func (d *desk) Authenticate(_ context.Context, l Login) (string, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, l.Domain+"|"+l.User)
	if !strings.EqualFold(l.User, "admin") && !strings.EqualFold(l.User, "admin@lab.test") {
		return "", false
	}
	return `LAB\admin`, l.Check(d.secret())
}

func (d *desk) secret() string {
	if d.password != "" {
		return d.password
	}
	return "Pa$$ wörd:1"
}

func (d *desk) Run(ctx context.Context, c Command, in io.Reader, out, errs io.Writer) int {
	verb, rest, _ := strings.Cut(c.Line, " ")
	switch verb {
	case "echo":
		fmt.Fprintf(out, "%s\r\n", rest)
	case "warn":
		fmt.Fprintf(errs, "%s\r\n", rest)
	case "exit":
		n, _ := strconv.Atoi(rest)
		return n
	case "more":
		_, _ = io.Copy(out, in)
	case "sleep":
		n, _ := time.ParseDuration(rest)
		select {
		case <-time.After(n):
			fmt.Fprint(out, "slept\r\n")
		case <-ctx.Done():
		}
	case "hang":
		if d.began != nil {
			d.began <- struct{}{}
		}
		<-ctx.Done()
	case "flood":
		n, _ := strconv.Atoi(rest)
		_, _ = io.CopyN(out, remotetest.Endless{}, int64(n))
	}
	return 0
}

func serverFor(t *testing.T, h Host, change ...func(*Options)) *Server {
	t.Helper()
	o := Options{Host: h, Name: "SRV1", Domain: "LAB", Now: time.Now}
	for _, c := range change {
		c(&o)
	}
	s, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// client speaks to one server by Basic.
type client struct {
	t     *testing.T
	s     *Server
	http  *http.Client
	shell string
}

func clientFor(t *testing.T, s *Server) *client {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(tr.CloseIdleConnections)
	return &client{t: t, s: s, http: &http.Client{Transport: tr}}
}

func (c *client) post(body string) (int, string, error) {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, c.s.URL(), strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/soap+xml;charset=UTF-8")
	r.SetBasicAuth(`LAB\admin`, "Pa$$ wörd:1")
	resp, err := c.http.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

func (c *client) request(action, content, timeout string) string {
	selector := ""
	if c.shell != "" {
		selector = `<w:SelectorSet><w:Selector Name="ShellId">` + c.shell + `</w:Selector></w:SelectorSet>`
	}
	return `<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing" ` +
		`xmlns:w="http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd" xmlns:rsp="` + shellSpace + `"><s:Header><a:Action>` + action +
		`</a:Action><a:MessageID>uuid:1</a:MessageID><w:ResourceURI>` + resourceCmd + `</w:ResourceURI>` + selector +
		`<w:MaxEnvelopeSize>153600</w:MaxEnvelopeSize><w:OperationTimeout>` + timeout + `</w:OperationTimeout></s:Header><s:Body>` +
		content + `</s:Body></s:Envelope>`
}

func between(s, from, to string) string {
	_, rest, ok := strings.Cut(s, from)
	if !ok {
		return ""
	}
	v, _, _ := strings.Cut(rest, to)
	return v
}

func (c *client) must(action, content string) string {
	c.t.Helper()
	status, text, err := c.post(c.request(action, content, "PT20S"))
	if err != nil || status != http.StatusOK {
		c.t.Fatalf("%s: status %d, error %v: %s", action, status, err, text)
	}
	return text
}

func (c *client) open() {
	c.t.Helper()
	c.shell = between(c.must(actionCreate, `<rsp:Shell><rsp:InputStreams>stdin</rsp:InputStreams>`+
		`<rsp:OutputStreams>stdout stderr</rsp:OutputStreams></rsp:Shell>`), "<rsp:ShellId>", "<")
}

func (c *client) start(line string) string {
	c.t.Helper()
	return between(c.must(actionCommand, `<rsp:CommandLine><rsp:Command>`+line+`</rsp:Command></rsp:CommandLine>`), "<rsp:CommandId>", "<")
}

func sendBody(id string, data []byte, end string) string {
	return `<rsp:Send><rsp:Stream Name="stdin" CommandId="` + id + `" End="` + end + `">` +
		base64.StdEncoding.EncodeToString(data) + `</rsp:Stream></rsp:Send>`
}

func receiveBody(id string) string {
	return `<rsp:Receive><rsp:DesiredStream CommandId="` + id + `">stdout stderr</rsp:DesiredStream></rsp:Receive>`
}

func signalBody(id, what string) string {
	return `<rsp:Signal CommandId="` + id + `"><rsp:Code>` + signalSpace + what + `</rsp:Code></rsp:Signal>`
}

// finish receives until the command is done.
func (c *client) finish(id string) (stdout, stderr []byte, exit string) {
	c.t.Helper()
	for {
		text := c.must(actionReceive, receiveBody(id))
		out, errs := streamsOf(c.t, text)
		stdout, stderr = append(stdout, out...), append(stderr, errs...)
		if strings.Contains(text, "CommandState/Done") {
			return stdout, stderr, between(text, "<rsp:ExitCode>", "<")
		}
	}
}

func streamsOf(t *testing.T, text string) (stdout, stderr []byte) {
	t.Helper()
	for _, part := range strings.Split(text, "<rsp:Stream ")[1:] {
		b, err := base64.StdEncoding.DecodeString(between(part, ">", "<"))
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(part, `Name="stdout"`) {
			stdout = append(stdout, b...)
		} else {
			stderr = append(stderr, b...)
		}
	}
	return stdout, stderr
}

func TestCommands(t *testing.T) {
	t.Parallel()
	rows := []struct{ name, line, stdin, stdout, stderr, exit string }{
		{"output comes back", "echo hi there", "", "hi there\r\n", "", "0"},
		{"errors have their own stream", "warn careful", "", "", "careful\r\n", "0"},
		{"the exit code comes back", "exit 42", "", "", "", "42"},
		{"input reaches the command", "more", "one\ntwo", "one\ntwo", "", "0"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c := clientFor(t, serverFor(t, &desk{}))
			c.open()
			id := c.start(row.line)
			if row.stdin != "" {
				c.must(actionSend, sendBody(id, []byte(row.stdin[:3]), "false"))
				c.must(actionSend, sendBody(id, []byte(row.stdin[3:]), "true"))
			}
			out, errs, exit := c.finish(id)
			if string(out) != row.stdout || string(errs) != row.stderr || exit != row.exit {
				t.Errorf("got %q %q %s", out, errs, exit)
			}
			c.must(actionSignal, signalBody(id, "terminate"))
			c.must(actionDelete, "")
		})
	}
}

func TestLargeOutputComesInEnvelopesOfTheSizeAskedFor(t *testing.T) {
	t.Parallel()
	c := clientFor(t, serverFor(t, &desk{}))
	c.open()
	id := c.start("flood 3000000")
	total := 0
	for {
		text := c.must(actionReceive, receiveBody(id))
		if len(text) > 153600 {
			t.Fatalf("answer of %d bytes", len(text))
		}
		out, _ := streamsOf(t, text)
		total += len(out)
		if strings.Contains(text, "CommandState/Done") {
			break
		}
	}
	if total != 3000000 {
		t.Errorf("got %d bytes", total)
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name string
		do   func(c *client) (action, content, timeout string)
		want string
	}{
		{"an unknown shell", func(c *client) (string, string, string) {
			c.shell = "8ABEA8D2-0438-4D75-A594-55DCA786B4E1"
			return actionReceive, receiveBody("x"), "PT1S"
		}, `Code="2150858843"`},
		{"nothing written yet", func(c *client) (string, string, string) {
			return actionReceive, receiveBody(c.start("hang")), "PT0.05S"
		}, `Code="2150858793"`},
		{"a command line too long for cmd.exe", func(*client) (string, string, string) {
			return actionCommand, `<rsp:CommandLine><rsp:Command>` + strings.Repeat("x", 8192) + `</rsp:Command></rsp:CommandLine>`, "PT1S"
		}, `Code="2147942606"`},
		{"no command id", func(*client) (string, string, string) {
			return actionReceive, `<rsp:Receive><rsp:DesiredStream>stdout</rsp:DesiredStream></rsp:Receive>`, "PT1S"
		}, `Code="87"`},
		{"an action of another protocol", func(*client) (string, string, string) {
			return "http://schemas.xmlsoap.org/ws/2004/09/enumeration/Enumerate", "", "PT1S"
		}, "ActionNotSupported"},
		{"an end told twice", func(c *client) (string, string, string) {
			id := c.start("exit 0")
			c.finish(id)
			return actionReceive, receiveBody(id), "PT1S"
		}, "Either the command has completed execution"},
		{"input for a command that has ended", func(c *client) (string, string, string) {
			id := c.start("exit 0")
			c.finish(id)
			return actionSend, sendBody(id, []byte("x"), "true"), "PT1S"
		}, `Code="109"`},
		{"input that is not base64", func(c *client) (string, string, string) {
			return actionSend, `<rsp:Send><rsp:Stream Name="stdin" CommandId="` + c.start("more") + `">***</rsp:Stream></rsp:Send>`, "PT1S"
		}, `Code="87"`},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c := clientFor(t, serverFor(t, &desk{}))
			c.open()
			status, text, err := c.post(c.request(row.do(c)))
			if err != nil || status != http.StatusInternalServerError || !strings.Contains(text, row.want) {
				t.Errorf("status %d, error %v, want %s in %s", status, err, row.want, text)
			}
		})
	}
}

func TestTooLargeARequestIsRefusedUnread(t *testing.T) {
	t.Parallel()
	c := clientFor(t, serverFor(t, &desk{}))
	status, _, err := c.post(strings.Repeat(" ", MaxEnvelope+1))
	if err != nil || status != http.StatusRequestEntityTooLarge {
		t.Errorf("status %d, error %v", status, err)
	}
}

func TestWhatIsNotAnEnvelopeIsAFault(t *testing.T) {
	t.Parallel()
	c := clientFor(t, serverFor(t, &desk{}))
	for _, text := range []string{"", "<x/>", "\x00\x01", `<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>`} {
		status, _, err := c.post(text)
		if err != nil || status != http.StatusInternalServerError {
			t.Errorf("%q: status %d, error %v", text, status, err)
		}
	}
}

func TestAnIdleShellExpires(t *testing.T) {
	t.Parallel()
	d := &desk{began: make(chan struct{}, 1)}
	c := clientFor(t, serverFor(t, d, func(o *Options) { o.IdleTimeout = 300 * time.Millisecond }))
	c.open()
	id := c.start("hang")
	<-d.began
	// The Receive outlives the shell: it is answered when the shell goes.
	status, text, err := c.post(c.request(actionReceive, receiveBody(id), "PT20S"))
	if err != nil || status != http.StatusInternalServerError || !strings.Contains(text, "shell was not found") {
		t.Errorf("status %d, error %v: %s", status, err, text)
	}
}

func TestSignals(t *testing.T) {
	t.Parallel()
	d := &desk{began: make(chan struct{}, 2)}
	c := clientFor(t, serverFor(t, d))
	c.open()
	id := c.start("hang")
	<-d.began
	c.must(actionSignal, signalBody(id, "ctrl_c"))
	if _, _, exit := c.finish(id); exit != strconv.Itoa(exitInterrupted) {
		t.Errorf("exit code %s", exit)
	}
	id = c.start("hang")
	<-d.began
	c.must(actionSignal, signalBody(id, "terminate"))
	if status, text, _ := c.post(c.request(actionReceive, receiveBody(id), "PT20S")); status != http.StatusInternalServerError {
		t.Errorf("a terminated command is still there: %s", text)
	}
}

func TestAccidents(t *testing.T) {
	t.Parallel()
	t.Run("a connection cut after Command leaves the command running", func(t *testing.T) {
		t.Parallel()
		d := &desk{began: make(chan struct{}, 1)}
		s := serverFor(t, d)
		c := clientFor(t, s)
		c.open()
		s.SetFaults(Faults{Drop: Point{Phase: PhaseCommand}})
		_, _, err := c.post(c.request(actionCommand, `<rsp:CommandLine><rsp:Command>hang</rsp:Command></rsp:CommandLine>`, "PT1S"))
		if err == nil {
			t.Error("an answer came")
		}
		<-d.began
	})
	t.Run("the second receive is cut, the third goes on", func(t *testing.T) {
		t.Parallel()
		s := serverFor(t, &desk{})
		c := clientFor(t, s)
		c.open()
		s.SetFaults(Faults{Drop: Point{Phase: PhaseReceive, N: 2, Early: true}})
		id := c.start("more")
		c.must(actionSend, sendBody(id, []byte("a"), "false"))
		c.must(actionReceive, receiveBody(id))
		if _, _, err := c.post(c.request(actionReceive, receiveBody(id), "PT1S")); err == nil {
			t.Error("an answer came")
		}
		c.must(actionSend, sendBody(id, []byte("b"), "true"))
		if out, _, _ := c.finish(id); string(out) != "b" {
			t.Errorf("got %q", out)
		}
	})
	t.Run("a middle chunk is lost silently", func(t *testing.T) {
		t.Parallel()
		s := serverFor(t, &desk{})
		c := clientFor(t, s)
		c.open()
		s.SetFaults(Faults{LoseChunk: 2})
		id := c.start("more")
		for i, part := range []string{"one", "two", "three"} {
			c.must(actionSend, sendBody(id, []byte(part), strconv.FormatBool(i == 2)))
		}
		if out, _, _ := c.finish(id); string(out) != "onethree" {
			t.Errorf("got %q", out)
		}
	})
	t.Run("a send fails with a fault", func(t *testing.T) {
		t.Parallel()
		s := serverFor(t, &desk{})
		c := clientFor(t, s)
		c.open()
		s.SetFaults(Faults{Fail: Point{Phase: PhaseSend, N: 1, Early: true}, FailWith: FaultBusy})
		id := c.start("more")
		status, text, err := c.post(c.request(actionSend, sendBody(id, []byte("x"), "true"), "PT1S"))
		if err != nil || status != http.StatusInternalServerError || !strings.Contains(text, `Code="170"`) {
			t.Errorf("status %d, error %v: %s", status, err, text)
		}
	})
	t.Run("everybody is refused", func(t *testing.T) {
		t.Parallel()
		s := serverFor(t, &desk{})
		s.SetFaults(Faults{Unauthorized: true})
		if status, _, err := clientFor(t, s).post(""); err != nil || status != http.StatusUnauthorized {
			t.Errorf("status %d, error %v", status, err)
		}
	})
	t.Run("commands die with the process that holds them", func(t *testing.T) {
		t.Parallel()
		d := &desk{began: make(chan struct{}, 1)}
		s := serverFor(t, d)
		c := clientFor(t, s)
		c.open()
		id := c.start("hang")
		<-d.began
		s.KillCommands()
		status, text, err := c.post(c.request(actionReceive, receiveBody(id), "PT20S"))
		if err != nil || status != http.StatusInternalServerError || !strings.Contains(text, "shell was not found") {
			t.Errorf("status %d, error %v: %s", status, err, text)
		}
	})
	t.Run("a machine that is down refuses, and comes back at its address", func(t *testing.T) {
		t.Parallel()
		s := serverFor(t, &desk{})
		c := clientFor(t, s)
		c.open()
		if err := s.SetDown(true); err != nil || !s.Down() {
			t.Fatal(err)
		}
		if _, _, err := c.post(""); err == nil {
			t.Error("an answer came")
		}
		if err := s.SetDown(false); err != nil || s.Down() {
			t.Fatal(err)
		}
		if out, _, _ := c.finish(c.start("echo back")); string(out) != "back\r\n" {
			t.Errorf("got %q", out)
		}
	})
}

func TestQuotas(t *testing.T) {
	t.Parallel()
	c := clientFor(t, serverFor(t, &desk{}))
	c.open()
	for range maxCommands {
		c.start("hang")
	}
	_, text, _ := c.post(c.request(actionCommand, `<rsp:CommandLine><rsp:Command>hang</rsp:Command></rsp:CommandLine>`, "PT1S"))
	if !strings.Contains(text, `Code="2150859174"`) {
		t.Error(text)
	}
	for range maxShells - 1 {
		c.open()
	}
	_, text, _ = c.post(c.request(actionCreate, `<rsp:Shell/>`, "PT1S"))
	if !strings.Contains(text, `Code="2150859173"`) {
		t.Error(text)
	}
}

// A user's shells are no other user's.
func TestTheQuotaOfShellsIsAUsers(t *testing.T) {
	t.Parallel()
	s := serverFor(t, &desk{})
	for n := range maxShells + 1 {
		code := s.open(&shell{id: strconv.Itoa(n), owner: `LAB\admin`, idle: time.Hour})
		if (code == FaultShells) != (n == maxShells) {
			t.Errorf("shell %d: %q", n, code)
		}
	}
	if code := s.open(&shell{id: "other", owner: `LAB\svc_app`, idle: time.Hour}); code != "" {
		t.Errorf("another user: %q", code)
	}
}

func TestInputBeyondTheLimitIsBusy(t *testing.T) {
	t.Parallel()
	b := newInbox()
	if !b.put(bytes.Repeat([]byte("x"), maxInbox), false) || b.put([]byte("y"), false) {
		t.Error("limit not kept")
	}
}
