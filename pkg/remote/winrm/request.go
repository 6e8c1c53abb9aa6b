package winrm

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/masterzen/winrm"
)

const (
	// chunkSize is how many bytes of input one request carries. In base64 and
	// with its envelope it stays below the 150 kB that the oldest servers take.
	chunkSize = 110_000
	// envelopeSize is the largest answer that a machine is asked for.
	envelopeSize = 153_600
	// maxLine is what cmd.exe takes.
	maxLine = 8191
)

// The actions of WS-Management that an answer names.
const (
	nsTransfer = "http://schemas.xmlsoap.org/ws/2004/09/transfer"
	nsShell    = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell"

	actionCreated = nsTransfer + "/CreateResponse"
	actionDeleted = nsTransfer + "/DeleteResponse"
	actionCommand = nsShell + "/CommandResponse"
	actionSent    = nsShell + "/SendResponse"
	actionOutput  = nsShell + "/ReceiveResponse"
	actionSignal  = nsShell + "/SignalResponse"
)

// requests builds envelopes for one machine. Identifiers that go in have passed
// validID, since the library's builders escape nothing.
type requests struct {
	url    string
	params *winrm.Parameters
}

func newRequests(url string, operation time.Duration) requests {
	seconds := strconv.FormatFloat(operation.Seconds(), 'f', -1, 64)
	return requests{url: url, params: winrm.NewParameters("PT"+seconds+"S", "en-US", envelopeSize)}
}

// Bounds of how long a machine keeps a shell in which nobody asks for anything.
const (
	// minIdle covers our own longest silence: five broken connections in a row, each
	// with its pause. Windows takes nothing below a minute.
	minIdle = 3 * time.Minute
	// maxIdle is what Windows does by itself; it may refuse more.
	maxIdle = 2 * time.Hour
	// standardIdle is for a session that has no deadline.
	standardIdle = 15 * time.Minute
)

// idleTime is how long a shell outlives its runner. One that is killed deletes no
// shell, and a machine that kept each for its own two hours would let nobody in
// after thirty (MaxShellsPerUser). But a restart runs on while nobody asks, and
// must not lose its shell: after its deadline it stops nothing more, and starts
// what it owes, for which it is given half as long again. The time runs from the
// last request, so that this is always enough.
func idleTime(ctx context.Context) time.Duration {
	at, known := ctx.Deadline()
	if !known {
		return standardIdle
	}
	left := time.Until(at)
	return min(max(left+left/2, minIdle), maxIdle).Round(time.Second)
}

// create builds the request for a shell. The library's cannot say how long the
// machine shall keep it (MS-WSMV 2.2.4.35, IdleTimeOut).
func (r requests) create(idle time.Duration) ([]byte, error) {
	const before = `</rsp:OutputStreams>`
	body := winrm.NewOpenShellRequest(r.url, r.params).String()
	if strings.Count(body, before) != 1 {
		return nil, errors.New("the request's idle time cannot be set")
	}
	timeout := fmt.Sprintf(`<rsp:IdleTimeOut>PT%dS</rsp:IdleTimeOut>`, int(idle.Seconds()))
	return []byte(strings.Replace(body, before, before+timeout, 1)), nil
}

func (r requests) remove(shell string) []byte {
	return []byte(winrm.NewDeleteShellRequest(r.url, shell, r.params).String())
}

func (r requests) receive(shell, command string) []byte {
	return []byte(winrm.NewGetOutputRequest(r.url, shell, command, "stdout stderr", r.params).String())
}

func (r requests) terminate(shell, command string) []byte {
	return []byte(winrm.NewSignalRequest(r.url, shell, command, r.params).String())
}

// command builds the request that starts line. The library asks for a console
// as standard input, on which old servers drop what is sent; we ask for a pipe.
func (r requests) command(shell, line string) ([]byte, error) {
	if len(line) > maxLine {
		return nil, fmt.Errorf("the command line has %d characters, more than the %d that Windows takes", len(line), maxLine)
	}
	if strings.ContainsFunc(line, unicode.IsControl) || strings.Contains(line, "]]>") {
		return nil, errors.New("the command line holds characters that no request can carry")
	}
	const console, pipe = `"WINRS_CONSOLEMODE_STDIN">TRUE<`, `"WINRS_CONSOLEMODE_STDIN">FALSE<`
	body := winrm.NewExecuteCommandRequest(r.url, shell, line, nil, r.params).String()
	if strings.Count(body, console) != 1 {
		return nil, errors.New("the request's console mode cannot be set")
	}
	return []byte(strings.Replace(body, console, pipe, 1)), nil
}

// send builds the request that carries one chunk of input. The chunk is spliced
// in as bytes, never a string, so that its buffer can be cleared after use.
func (r requests) send(shell, command string, chunk inputParts, last bool) ([]byte, error) {
	const empty, open, shut = `/>`, `>`, `</rsp:Stream>`
	body := []byte(winrm.NewSendInputRequest(r.url, shell, command, nil, last, r.params).String())
	start := bytes.Index(body, []byte("<rsp:Stream "))
	if start < 0 {
		return nil, errors.New("the request's stream cannot be filled")
	}
	at := bytes.Index(body[start:], []byte(empty))
	if at < 0 {
		return nil, errors.New("the request's stream cannot be filled")
	}
	at += start
	out := make([]byte, 0, len(body)+base64.StdEncoding.EncodedLen(chunk.size())+len(shut))
	out = append(append(out, body[:at]...), open...)
	out = chunk.appendBase64(out)
	return append(append(out, shut...), body[at+len(empty):]...), nil
}

// validID reports whether an identifier of a shell or command can go into a
// request. Windows uses GUIDs.
func validID(id string) bool {
	if id == "" || len(id) > 64 {
		return false
	}
	return !strings.ContainsFunc(id, func(r rune) bool {
		return r != '-' && (r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r))
	})
}
