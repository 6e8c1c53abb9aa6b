package winrmd

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// serve answers one HTTP request.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if !s.enter() {
		return
	}
	defer s.running.Done()
	w.Header().Set("Server", "Microsoft-HTTPAPI/2.0")
	body, err := io.ReadAll(io.LimitReader(r.Body, MaxEnvelope+1))
	if err != nil {
		return
	}
	if !s.wait(r.Context()) {
		return
	}
	if r.URL.Path != "/wsman" || r.Method != http.MethodPost {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	owner, ok := s.authenticate(w, r)
	if !ok {
		return
	}
	s.knobs.count(func(c *Counts) { c.LargestRequest = max(c.LargestRequest, len(body)) })
	if len(body) > MaxEnvelope {
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	}
	e, err := parseEnvelope(body)
	if err != nil {
		s.answer(w, "", s.fault(FaultEnvelope, ""))
		return
	}
	if e.Body.Identify != nil {
		writeXML(w, http.StatusOK, identifyResponse)
		return
	}
	s.dispatch(w, r, call{envelope: e, owner: owner})
}

// enter counts a request as running, unless the server is closed.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.running.Add(1)
	return true
}

// wait adds the latency that the faults ask for; false says that the client
// has gone meanwhile.
func (s *Server) wait(ctx context.Context) bool {
	d := s.Faults().Latency
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// A call is a request and who sent it.
type call struct {
	*envelope
	owner  string
	client string // address
	lose   bool   // acknowledge the input, forget it
}

// dispatch acts on a request, with the accidents that are asked for.
func (s *Server) dispatch(w http.ResponseWriter, r *http.Request, c call) {
	phase := phaseOf(strings.TrimSpace(c.Action))
	acc := s.knobs.next(phase)
	c.client, _, _ = net.SplitHostPort(r.RemoteAddr)
	c.lose = acc.lose
	var a reply
	if !acc.early {
		a = s.act(r.Context(), phase, c)
	}
	if r.Context().Err() != nil {
		return
	}
	switch {
	case acc.drop:
		drop(w)
	case acc.fail:
		s.answer(w, c.MessageID, s.fault(acc.with, c.shellID()))
	default:
		s.answer(w, c.MessageID, a)
	}
}

// drop cuts the connection.
func drop(w http.ResponseWriter) {
	h, ok := w.(http.Hijacker)
	if !ok {
		return
	}
	conn, _, err := h.Hijack()
	if err != nil {
		return
	}
	_ = conn.Close()
}

func (s *Server) act(ctx context.Context, p Phase, c call) reply {
	switch p {
	case PhaseCreate:
		return s.create(c)
	case PhaseDelete:
		if !s.remove(c.shellID()) {
			return s.fault(FaultShell, c.shellID())
		}
		return reply{action: actionDelete + "Response"}
	case "":
		return s.fault(FaultAction, "")
	default:
	}
	sh := s.find(c.shellID())
	if sh == nil || !strings.EqualFold(sh.owner, c.owner) {
		return s.fault(FaultShell, c.shellID())
	}
	switch p {
	case PhaseCommand:
		return s.command(ctx, sh, c)
	case PhaseSend:
		return s.send(sh, c)
	case PhaseReceive:
		return s.receive(ctx, sh, c)
	default:
		return s.signal(sh, c)
	}
}

func (s *Server) create(c call) reply {
	b := c.Body.Shell
	if b == nil || strings.TrimSpace(c.ResourceURI) != resourceCmd {
		return s.fault(FaultEnvelope, "")
	}
	idle := s.opts.IdleTimeout
	if d, ok := parseDuration(b.IdleTimeOut); ok {
		idle = min(max(d, time.Second), DefaultIdleTimeout)
	}
	sh := &shell{id: s.guid(), owner: c.owner, idle: idle, commands: map[string]*command{}}
	if code := s.open(sh); code != "" {
		return s.fault(code, "")
	}
	return reply{actionCreate + "Response", fmt.Sprintf(`<x:ResourceCreated><a:Address>%s</a:Address><a:ReferenceParameters>`+
		`<w:ResourceURI>%s</w:ResourceURI><w:SelectorSet><w:Selector Name="ShellId">%s</w:Selector></w:SelectorSet>`+
		`</a:ReferenceParameters></x:ResourceCreated><rsp:Shell xmlns:rsp="%s"><rsp:ShellId>%s</rsp:ShellId>`+
		`<rsp:ResourceUri>%s</rsp:ResourceUri><rsp:Owner>%s</rsp:Owner><rsp:ClientIP>%s</rsp:ClientIP>%s`+
		`<rsp:IdleTimeOut>PT%.3fS</rsp:IdleTimeOut><rsp:InputStreams>%s</rsp:InputStreams>`+
		`<rsp:OutputStreams>%s</rsp:OutputStreams><rsp:ShellRunTime>P0DT0H0M0S</rsp:ShellRunTime>`+
		`<rsp:ShellInactivity>P0DT0H0M0S</rsp:ShellInactivity></rsp:Shell>`,
		s.URL(), resourceCmd, sh.id, shellSpace, sh.id, resourceCmd, escape(sh.owner), c.client, b.settings(),
		sh.idle.Seconds(), escape(b.InputStreams), escape(b.OutputStreams))}
}

func (s *Server) command(ctx context.Context, sh *shell, c call) reply {
	b := c.Body.CommandLine
	if b == nil || strings.TrimSpace(b.Command) == "" {
		return s.fault(FaultParameter, "")
	}
	line := strings.Join(append([]string{b.Command}, b.Arguments...), " ")
	if len(line) > maxCommandLine {
		return s.fault(FaultTooLong, "")
	}
	if s.opts.HonourSkipShell && c.option("WINRS_SKIP_CMD_SHELL") && !strings.Contains(b.Command, `\`) {
		return s.fault(FaultNotFound, "")
	}
	id := s.guid()
	if code := s.launch(ctx, sh, id, Command{Owner: sh.owner, Line: line}); code != "" {
		return s.fault(code, sh.id)
	}
	return reply{actionCommand + "Response", `<rsp:CommandResponse><rsp:CommandId>` + id + `</rsp:CommandId></rsp:CommandResponse>`}
}

func (s *Server) send(sh *shell, c call) reply {
	if c.Body.Send == nil || len(c.Body.Send.Streams) == 0 {
		return s.fault(FaultParameter, "")
	}
	for _, in := range c.Body.Send.Streams {
		cmd := sh.command(in.CommandID)
		if cmd == nil {
			return s.fault(FaultCommand, "")
		}
		if cmd.out.finished() {
			return s.fault(FaultPipe, "")
		}
		data, err := decodeInput(in.Data)
		if err != nil || in.Name != "stdin" {
			return s.fault(FaultParameter, "")
		}
		if c.lose {
			data = nil
		}
		end := strings.EqualFold(in.End, "true") || in.End == "1"
		if !cmd.in.put(data, end) {
			return s.fault(FaultBusy, "")
		}
	}
	return reply{actionSend + "Response", `<rsp:SendResponse/>`}
}

func (s *Server) receive(ctx context.Context, sh *shell, c call) reply {
	if c.Body.Receive == nil || c.Body.Receive.Desired.CommandID == "" {
		return s.fault(FaultParameter, "")
	}
	id := c.Body.Receive.Desired.CommandID
	cmd := sh.command(id)
	if cmd == nil {
		return s.fault(FaultCommand, "")
	}
	d, err := cmd.out.take(ctx, c.room(), c.timeout())
	switch {
	case errors.Is(err, errTimedOut):
		return s.fault(FaultTimedOut, "")
	case errors.Is(err, errGone):
		return s.lost(sh, id)
	case err != nil:
		return reply{} // the client has gone
	}
	return reply{actionReceive + "Response", `<rsp:ReceiveResponse>` + d.xml(id) + `</rsp:ReceiveResponse>`}
}

// lost says why a command that was there is not: its shell died, it was
// terminated, or its end was told before.
func (s *Server) lost(sh *shell, id string) reply {
	sh.mu.Lock()
	ended, here := sh.ended, sh.commands[id] != nil
	sh.mu.Unlock()
	switch {
	case ended:
		return s.fault(FaultShell, sh.id)
	case here:
		return s.fault(FaultCommand, "")
	default:
		return s.fault(FaultAborted, "")
	}
}

func (d delivery) xml(id string) string {
	var b strings.Builder
	for _, c := range d.chunks {
		fmt.Fprintf(&b, `<rsp:Stream Name="%s" CommandId="%s">%s</rsp:Stream>`, c.stream, escape(id),
			base64.StdEncoding.EncodeToString(c.data))
	}
	if !d.done {
		fmt.Fprintf(&b, `<rsp:CommandState CommandId="%s" State="%sRunning"></rsp:CommandState>`, escape(id), stateSpace)
		return b.String()
	}
	for _, name := range []string{"stdout", "stderr"} {
		fmt.Fprintf(&b, `<rsp:Stream Name="%s" CommandId="%s" End="true"></rsp:Stream>`, name, escape(id))
	}
	fmt.Fprintf(&b, `<rsp:CommandState CommandId="%s" State="%sDone"><rsp:ExitCode>%d</rsp:ExitCode></rsp:CommandState>`,
		escape(id), stateSpace, d.exit)
	return b.String()
}

func (s *Server) signal(sh *shell, c call) reply {
	if c.Body.Signal == nil {
		return s.fault(FaultParameter, "")
	}
	id := c.Body.Signal.CommandID
	cmd := sh.command(id)
	if cmd == nil {
		return s.fault(FaultCommand, "")
	}
	switch code := strings.TrimSpace(c.Body.Signal.Code); {
	case cmd.out.finished():
		sh.dismiss(id)
	case strings.EqualFold(code, signalSpace+"ctrl_c"), strings.EqualFold(code, signalSpace+"ctrl_break"):
		cmd.interrupt()
	case strings.EqualFold(code, signalSpace+"terminate"):
		sh.dismiss(id)
		cmd.kill()
	default:
		return s.fault(FaultParameter, "")
	}
	return reply{actionSignal + "Response", `<rsp:SignalResponse/>`}
}

func (s *Server) fault(c FaultCode, shellID string) reply {
	return reply{actionFault, faultOf(c, shellID).body(s.opts.Name)}
}

func (s *Server) answer(w http.ResponseWriter, relatesTo string, r reply) {
	status := http.StatusOK
	if r.action == actionFault {
		status = http.StatusInternalServerError
	}
	writeXML(w, status, r.render(s.guid(), s.guid(), strings.TrimSpace(relatesTo)))
}

func writeXML(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "application/soap+xml;charset=UTF-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
}

// guid returns a random GUID in capitals.
func (s *Server) guid() string {
	var b [16]byte
	if _, err := io.ReadFull(&s.random, b[:]); err != nil {
		s.log.Error("randomness failed", "error", err)
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := strings.ToUpper(hex.EncodeToString(b[:]))
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
