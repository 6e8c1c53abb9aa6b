package winrm

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"encoding/xml"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
	"keyturn/pkg/secret"
)

const (
	fakeUser     = `LAB\rotator`
	fakePassword = "c4n4ry-Pä$$w0rd"
)

// phases are the requests of a session, by what the fake server calls them.
var phases = map[string]string{
	nsTransfer + "/Create": "create", nsTransfer + "/Delete": "delete",
	nsShell + "/Command": "command", nsShell + "/Send": "send",
	nsShell + "/Receive": "receive", nsShell + "/Signal": "signal",
}

// A node is any XML element.
type node struct {
	XMLName xml.Name
	Attrs   []xml.Attr `xml:",any,attr"`
	Nodes   []node     `xml:",any"`
	Text    string     `xml:",chardata"`
}

// find returns the first element of that local name, depth first.
func (n *node) find(local string) *node {
	if n.XMLName.Local == local {
		return n
	}
	for i := range n.Nodes {
		if f := n.Nodes[i].find(local); f != nil {
			return f
		}
	}
	return nil
}

func (n *node) attr(local string) string {
	for _, a := range n.Attrs {
		if a.Name.Local == local {
			return a.Value
		}
	}
	return ""
}

// A seen is one request as the fake server saw it.
type seen struct {
	phase, body string
}

// A process is one command of the fake.
type process struct {
	mu       sync.Mutex
	cond     *sync.Cond
	stdin    []byte
	eof      bool
	out, err []byte
	ended    bool
	code     int
	kill     chan struct{}
	once     sync.Once
}

// A fake is a small WS-Man server over HTTPS that checks Basic and NTLMv2 and
// runs a handful of words as commands. lie, when set, may answer a request in
// its place: it is told the phase and the how manieth of that phase it is.
type fake struct {
	*httptest.Server
	ca     []byte
	offers []string
	lie    func(phase string, n int, w http.ResponseWriter, r *http.Request) bool

	mu       sync.Mutex
	shells   int
	procs    map[string]*process
	log      []seen
	count    map[string]int
	accepted int
	refused  int
	conns    int
	anonymous,
	handshakes int
}

type connKey struct{}

// connState is what the server knows of one connection.
type connState struct {
	mu        sync.Mutex
	challenge []byte
	loggedIn  bool
}

// certificate makes a CA in PEM and a leaf of it for names, valid until end.
func certificate(t *testing.T, end time.Time, names ...string) ([]byte, tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "lab CA"}, NotBefore: end.Add(-48 * time.Hour),
		NotAfter: end.Add(48 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "srv1"}, NotBefore: end.Add(-48 * time.Hour), NotAfter: end,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			leaf.IPAddresses = append(leaf.IPAddresses, ip)
		} else {
			leaf.DNSNames = append(leaf.DNSNames, n)
		}
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}), tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// startFake starts a server; change may set it up before it listens.
func startFake(t *testing.T, change ...func(*fake)) *fake {
	t.Helper()
	f := &fake{
		offers: []string{"Negotiate", `Basic realm="WSMAN, lab"`},
		procs:  map[string]*process{}, count: map[string]int{},
	}
	f.Server = httptest.NewUnstartedServer(f)
	f.Config.ErrorLog = log.New(io.Discard, "", 0)
	f.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.conns++
		return context.WithValue(ctx, connKey{}, &connState{})
	}
	ca, cert := certificate(t, time.Now().Add(24*time.Hour), "127.0.0.1")
	f.ca = ca
	f.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	for _, c := range change {
		c(f)
	}
	f.StartTLS()
	t.Cleanup(func() {
		f.mu.Lock()
		for _, p := range f.procs {
			p.end()
		}
		f.mu.Unlock()
		f.CloseClientConnections()
		f.Close()
	})
	return f
}

func (f *fake) target() remote.Target {
	host, port, _ := net.SplitHostPort(f.Listener.Addr().String())
	n, _ := strconv.Atoi(port)
	return remote.Target{
		Endpoint: remote.Endpoint{Transport: pam.WinRM, Host: host, Port: n, CAPEM: f.ca},
		User:     fakeUser, Password: secret.New([]byte(fakePassword)),
	}
}

// ServeHTTP authenticates, then answers or lies.
func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if !f.authenticate(w, r) {
		return
	}
	var env node
	if err := xml.Unmarshal(b, &env); err != nil {
		http.Error(w, "bad envelope", http.StatusBadRequest)
		return
	}
	phase := "unknown"
	if a := env.find("Action"); a != nil {
		phase = phases[strings.TrimSpace(a.Text)]
	}
	f.mu.Lock()
	f.log = append(f.log, seen{phase, string(b)})
	f.count[phase]++
	n := f.count[phase]
	f.mu.Unlock()
	if f.lie != nil && f.lie(phase, n, w, r) {
		return
	}
	f.answer(w, r, phase, &env)
}

func (f *fake) answer(w http.ResponseWriter, r *http.Request, phase string, env *node) {
	switch phase {
	case "create":
		f.mu.Lock()
		f.shells++
		id := fmt.Sprintf("5E11-%d", f.shells)
		f.mu.Unlock()
		say(w, actionCreated, `<rsp:Shell><rsp:ShellId>`+id+`</rsp:ShellId></rsp:Shell>`)
	case "command":
		id := f.run(strings.TrimSpace(env.find("Command").Text))
		say(w, actionCommand, `<rsp:CommandResponse><rsp:CommandId>`+id+`</rsp:CommandId></rsp:CommandResponse>`)
	case "send":
		st := env.find("Stream")
		data, err := base64.StdEncoding.DecodeString(strings.TrimSpace(st.Text))
		p := f.proc(st.attr("CommandId"))
		if err != nil || p == nil {
			sayFault(w, "w:InvalidSelectors", "2150858843", "no such command")
			return
		}
		p.feed(data, st.attr("End") == "true")
		say(w, actionSent, `<rsp:SendResponse/>`)
	case "receive":
		f.receive(w, r, env)
	case "signal":
		if p := f.proc(env.find("Signal").attr("CommandId")); p != nil {
			p.end()
		}
		say(w, actionSignal, `<rsp:SignalResponse/>`)
	case "delete":
		f.mu.Lock()
		for _, p := range f.procs {
			p.end()
		}
		f.mu.Unlock()
		say(w, actionDeleted, ``)
	default:
		http.Error(w, "unknown action", http.StatusBadRequest)
	}
}

func (f *fake) proc(id string) *process {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.procs[id]
}

// running counts the commands that have not ended.
func (f *fake) running() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, p := range f.procs {
		p.mu.Lock()
		if !p.ended {
			n++
		}
		p.mu.Unlock()
	}
	return n
}

func (f *fake) requests(phase string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for _, s := range f.log {
		if phase == "" || s.phase == phase {
			out = append(out, s.body)
		}
	}
	return out
}

// run starts a command and returns its identifier.
func (f *fake) run(line string) string {
	p := &process{kill: make(chan struct{})}
	p.cond = sync.NewCond(&p.mu)
	f.mu.Lock()
	id := fmt.Sprintf("C0DE-%d", len(f.procs)+1)
	f.procs[id] = p
	f.mu.Unlock()
	go p.main(line)
	return id
}

func (p *process) main(line string) {
	word, arg, _ := strings.Cut(line, " ")
	n, _ := strconv.Atoi(arg)
	code := 0
	switch word {
	case "cat":
		p.write(p.input(), nil)
	case "digest":
		sum := sha256.Sum256(p.input())
		p.write([]byte(hex.EncodeToString(sum[:])+"\n"), nil)
	case "exit":
		p.input()
		code = n
	case "both":
		p.write([]byte("out\n"), []byte("err\n"))
	case "big":
		p.write([]byte(strings.Repeat("x", n)), nil)
	case "slow":
		for i := range 3 {
			p.write(fmt.Appendf(nil, "tick %d\n", i+1), nil)
			p.sleep(100 * time.Millisecond)
		}
	case "hang":
		p.write([]byte("started\n"), nil)
		p.sleep(time.Minute)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended, p.code = true, code
	p.cond.Broadcast()
}

func (p *process) sleep(d time.Duration) {
	select {
	case <-p.kill:
	case <-time.After(d):
	}
}

// end kills a command; one that ended is left as it was.
func (p *process) end() {
	p.once.Do(func() { close(p.kill) })
	p.mu.Lock()
	defer p.mu.Unlock()
	p.eof = true
	p.cond.Broadcast()
}

func (p *process) feed(b []byte, eof bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stdin = append(p.stdin, b...)
	p.eof = p.eof || eof
	p.cond.Broadcast()
}

func (p *process) input() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.eof {
		p.cond.Wait()
	}
	return p.stdin
}

func (p *process) write(out, err []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out, p.err = append(p.out, out...), append(p.err, err...)
	p.cond.Broadcast()
}

// receive answers with what there is, or waits for as long as it was asked to.
func (f *fake) receive(w http.ResponseWriter, r *http.Request, env *node) {
	id := env.find("DesiredStream").attr("CommandId")
	p := f.proc(id)
	if p == nil {
		sayFault(w, "w:InvalidSelectors", "2150858843", "no such command")
		return
	}
	patience, _ := time.ParseDuration(strings.ToLower(strings.TrimPrefix(env.find("OperationTimeout").Text, "PT")))
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.cond.Broadcast()
	})()
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.out)+len(p.err) == 0 && !p.ended && ctx.Err() == nil {
		p.cond.Wait()
	}
	body := pieces(id, "stdout", &p.out) + pieces(id, "stderr", &p.err)
	switch {
	case p.ended && len(p.out) == 0:
		say(w, actionOutput, `<rsp:ReceiveResponse>`+body+doneState(id, strconv.Itoa(p.code))+`</rsp:ReceiveResponse>`)
	case body != "":
		say(w, actionOutput, `<rsp:ReceiveResponse>`+body+`<rsp:CommandState CommandId="`+id+`" State="`+states+`Running"/></rsp:ReceiveResponse>`)
	default:
		sayFault(w, "w:TimedOut", codeTimedOut, "The operation timed out.")
	}
}

// pieces moves up to 1 MB out of from, in streams of an envelope.
func pieces(id, name string, from *[]byte) string {
	var b strings.Builder
	for range 10 {
		n := min(len(*from), 100_000)
		if n == 0 {
			break
		}
		fmt.Fprintf(&b, `<rsp:Stream Name="%s" CommandId="%s">%s</rsp:Stream>`, name, id, base64.StdEncoding.EncodeToString((*from)[:n]))
		*from = (*from)[n:]
	}
	return b.String()
}

func doneState(id, code string) string {
	exit := ""
	if code != "" {
		exit = `<rsp:ExitCode>` + code + `</rsp:ExitCode>`
	}
	return `<rsp:CommandState CommandId="` + id + `" State="` + states + `Done">` + exit + `</rsp:CommandState>`
}

func envelope(action, body string) string {
	return `<s:Envelope xml:lang="en-US" xmlns:s="http://www.w3.org/2003/05/soap-envelope" ` +
		`xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing" xmlns:w="http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd" ` +
		`xmlns:rsp="` + nsShell + `"><s:Header><a:Action>` + action + `</a:Action></s:Header><s:Body>` + body + `</s:Body></s:Envelope>`
}

func say(w http.ResponseWriter, action, body string) {
	w.Header().Set("Content-Type", "application/soap+xml;charset=UTF-8")
	_, _ = io.WriteString(w, envelope(action, body))
}

func faultBody(subcode, code, text string) string {
	return envelope("http://schemas.dmtf.org/wbem/wsman/1/wsman/fault",
		`<s:Fault><s:Code><s:Value>s:Sender</s:Value><s:Subcode><s:Value>`+subcode+`</s:Value></s:Subcode></s:Code>`+
			`<s:Reason><s:Text xml:lang="en-US">`+text+`</s:Text></s:Reason><s:Detail><f:WSManFault xmlns:f="`+nsFault+`" Code="`+code+
			`" Machine="h"><f:Message>`+text+`</f:Message></f:WSManFault></s:Detail></s:Fault>`)
}

func sayFault(w http.ResponseWriter, subcode, code, text string) {
	w.Header().Set("Content-Type", "application/soap+xml;charset=UTF-8")
	w.WriteHeader(http.StatusInternalServerError)
	_, _ = io.WriteString(w, faultBody(subcode, code, text))
}
