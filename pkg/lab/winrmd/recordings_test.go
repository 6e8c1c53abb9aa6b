package winrmd

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The recorded requests go to this server, which must answer as the real
// machine did: element for element, attribute for attribute, code for code.
// Left out are ids, addresses and times, and how output was cut into pieces.
func TestRecordingsOfRealMachines(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../../testdata/winrs-recordings/*.yml")
	if err != nil || len(files) < 12 {
		t.Fatalf("%d recordings, error %v", len(files), err)
	}
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) {
			t.Parallel()
			replay(t, readRecording(t, f))
		})
	}
}

type exchange struct{ request, response string }

// readRecording reads the two kinds of line that matter of the recordings'
// YAML: each message is one plain or single-quoted scalar.
func readRecording(t *testing.T, name string) []exchange {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var all []exchange
	for line := range strings.Lines(string(b)) {
		key, text, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ": ")
		if strings.HasPrefix(text, "'") {
			text = strings.ReplaceAll(strings.Trim(text, "'"), "''", "'")
		}
		switch key {
		case "- request":
			all = append(all, exchange{request: text})
		case "  response":
			all[len(all)-1].response = text
		}
	}
	if len(all) < 2 {
		t.Fatalf("%s: %d exchanges", name, len(all))
	}
	return all
}

// actor plays the commands of a recording.
type actor struct{ scenes chan scene }

type scene struct {
	chunks []chunk
	done   bool
	exit   int
	played chan struct{}
}

func (a *actor) Authenticate(_ context.Context, l Login) (string, bool) {
	return "vagrant", l.Check("Pa$$ wörd:1")
}

func (a *actor) Run(ctx context.Context, _ Command, _ io.Reader, out, errs io.Writer) int {
	for {
		select {
		case <-ctx.Done():
			return 1
		case s := <-a.scenes:
			for _, c := range s.chunks {
				to := out
				if c.stream == "stderr" {
					to = errs
				}
				_, _ = to.Write(c.data)
			}
			close(s.played)
			if s.done {
				return s.exit
			}
		}
	}
}

var guidPattern = regexp.MustCompile(`[0-9A-F]{8}-(?:[0-9A-F]{4}-){3}[0-9A-F]{12}`)

var timeoutPattern = regexp.MustCompile(`OperationTimeout>PT\d+S<`)

func replay(t *testing.T, all []exchange) {
	t.Helper()
	a := &actor{scenes: make(chan scene, 1)}
	s := serverFor(t, a, func(o *Options) { o.HonourSkipShell = true })
	c := clientFor(t, s)
	ids := map[string]string{} // recorded to ours
	for i, x := range all {
		request := guidPattern.ReplaceAllStringFunc(x.request, func(id string) string { return cmp.Or(ids[id], id) })
		request = timeoutPattern.ReplaceAllString(request, "OperationTimeout>PT0.2S<")
		var want scene
		if strings.Contains(x.response, "ReceiveResponse>") {
			want = sceneOf(t, x.response)
			a.scenes <- want
			<-want.played
		}
		status, got := exchangeAll(t, c, request, want)
		wantStatus := http.StatusOK
		if strings.Contains(x.response, "<s:Fault>") {
			wantStatus = http.StatusInternalServerError
		}
		if status != wantStatus {
			t.Fatalf("exchange %d: status %d, want %d: %s", i, status, wantStatus, got)
		}
		if g, w := shape(t, got), shape(t, x.response); g != w {
			t.Fatalf("exchange %d of %d:\n--- got\n%s\n--- want\n%s", i, len(all), g, w)
		}
		for _, tag := range []string{"<rsp:ShellId>", "<rsp:CommandId>"} {
			if old := between(x.response, tag, "<"); old != "" {
				ids[old] = between(got, tag, "<")
			}
		}
	}
}

// exchangeAll posts the request; a Receive is repeated until the command is
// done when the recorded one was, and the output put together.
func exchangeAll(t *testing.T, c *client, request string, want scene) (int, string) {
	t.Helper()
	earlier := ""
	for {
		status, text, err := c.post(request)
		if err != nil {
			t.Fatal(err)
		}
		if !want.done || strings.Contains(text, "CommandState/Done") || status != http.StatusOK {
			return status, strings.Replace(text, "<rsp:ReceiveResponse>", "<rsp:ReceiveResponse>"+earlier, 1)
		}
		earlier += between(text, "<rsp:ReceiveResponse>", "<rsp:CommandState")
	}
}

func sceneOf(t *testing.T, response string) scene {
	t.Helper()
	s := scene{done: strings.Contains(response, "CommandState/Done"), played: make(chan struct{})}
	for _, part := range strings.Split(response, "<rsp:Stream ")[1:] {
		data, err := base64.StdEncoding.DecodeString(between(part, ">", "<"))
		if err != nil {
			t.Fatal(err)
		}
		if len(data) > 0 {
			s.chunks = append(s.chunks, chunk{between(part, `Name="`, `"`), data})
		}
	}
	_, _ = fmt.Sscan(between(response, "<rsp:ExitCode>", "<"), &s.exit)
	return s
}

// variable are the elements and attributes whose text is a machine's own.
func variable(name string) bool {
	return slices.Contains([]string{
		"MessageID", "RelatesTo", "Address", "ShellId", "CommandId", "ClientIP", "Owner", "Machine", "Selector",
	}, name)
}

// shape renders a message as one line a node, namespaces resolved. Machines of
// 2008 R2 have no ActivityId.
func shape(t *testing.T, text string) string {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(text))
	var b, output bytes.Buffer
	var path []string
	last := ""
	flush := func() {
		if output.Len() > 0 {
			fmt.Fprintf(&b, "output %s %q\n", last, output.String())
			output.Reset()
		}
	}
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return b.String()
		}
		if err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			path = append(path, tok.Name.Local)
			stream := attributeOf(tok, "Name")
			if tok.Name.Local == "Stream" && attributeOf(tok, "End") == "" {
				if last != stream {
					flush()
				}
				last = stream
				continue
			}
			flush()
			if tok.Name.Local != "ActivityId" {
				fmt.Fprintf(&b, "%s %s%s\n", strings.Join(path, "/"), tok.Name.Space, attributesOf(tok))
			}
		case xml.EndElement:
			path = path[:len(path)-1]
		case xml.CharData:
			name := path[len(path)-1]
			switch {
			case name == "Stream":
				data, _ := base64.StdEncoding.DecodeString(string(tok))
				output.Write(data)
			case name != "ActivityId" && !variable(name):
				fmt.Fprintf(&b, "  %q\n", tok)
			}
		}
	}
}

func attributeOf(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

func attributesOf(e xml.StartElement) string {
	var all []string
	for _, a := range e.Attr {
		if a.Name.Space == "xmlns" {
			continue
		}
		value := a.Value
		if variable(a.Name.Local) {
			value = "…"
		}
		all = append(all, " "+a.Name.Local+"="+value)
	}
	slices.Sort(all)
	return strings.Join(all, "")
}
