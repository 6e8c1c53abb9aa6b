package winrm

import (
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// An exchange is one request of another client (pypsrp) to a real Windows, and
// the answer of that Windows.
type exchange struct {
	file, request, response string
}

// exchanges reads the recordings: YAML, of which only the two keys at the start
// of a line and folded lines below them occur.
func exchanges(tb testing.TB) []exchange {
	tb.Helper()
	files, err := filepath.Glob("../../../testdata/winrs-recordings/*.yml")
	if err != nil || len(files) == 0 {
		tb.Fatalf("no recordings: %v", err)
	}
	var out []exchange
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			tb.Fatal(err)
		}
		for _, part := range strings.Split("\n"+string(b), "\n- request: ")[1:] {
			request, response, ok := strings.Cut(part, "\n  response: ")
			if !ok {
				tb.Fatalf("%s: a request without a response", name)
			}
			out = append(out, exchange{filepath.Base(name), scalar(request), scalar(response)})
		}
	}
	return out
}

// scalar undoes what YAML does to a long text.
func scalar(s string) string {
	s = strings.TrimSpace(s)
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	s = strings.Join(lines, " ")
	if q, ok := strings.CutPrefix(s, "'"); ok {
		return strings.ReplaceAll(strings.TrimSuffix(q, "'"), "''", "'")
	}
	return s
}

func parseNode(tb testing.TB, s string) *node {
	tb.Helper()
	var n node
	if err := xml.Unmarshal([]byte(s), &n); err != nil {
		tb.Fatalf("%v in %.300s", err, s)
	}
	return &n
}

// TestTheParserReadsWhatWindowsAnswered holds the parser against an
// independent reading of each recorded answer.
func TestTheParserReadsWhatWindowsAnswered(t *testing.T) {
	t.Parallel()
	kinds := map[string]int{}
	for _, x := range exchanges(t) {
		a, err := parseAnswer([]byte(x.response))
		if err != nil {
			t.Errorf("%s: %v\n%s", x.file, err, x.response)
			continue
		}
		truth := parseNode(t, x.response)
		if want := strings.TrimSpace(truth.find("Action").Text); a.action != want {
			t.Errorf("%s: action %q, want %q", x.file, a.action, want)
		}
		if f := truth.find("Fault"); (f != nil) != (a.fault != nil) {
			t.Errorf("%s: fault %v", x.file, a.fault)
		} else if f != nil {
			kinds["fault "+a.fault.Code]++
			if a.fault.Code != f.find("WSManFault").attr("Code") || a.fault.Subcode != f.find("Subcode").find("Value").Text || a.fault.Reason == "" {
				t.Errorf("%s: %+v", x.file, a.fault)
			}
			continue
		}
		kinds[a.action[strings.LastIndex(a.action, "/")+1:]]++
		checkTruth(t, x.file, a, truth)
	}
	want := []string{
		"CommandResponse", "CreateResponse", "DeleteResponse", "ReceiveResponse", "SendResponse", "SignalResponse",
		"fault " + codeTimedOut, "fault 2150858843", "fault 2147942402", "fault 87",
	}
	for _, k := range want {
		if kinds[k] == 0 {
			t.Errorf("the recordings hold no %s: %v", k, kinds)
		}
	}
}

func checkTruth(t *testing.T, file string, a *answer, truth *node) {
	t.Helper()
	for name, got := range map[string]string{"ShellId": a.shell, "CommandId": a.command, "ExitCode": exitText(a)} {
		want := ""
		if n := truth.find(name); n != nil {
			want = n.Text
		}
		if got != want {
			t.Errorf("%s: %s is %q, want %q", file, name, got, want)
		}
	}
	if (a.action == actionCreated) != validID(a.shell) || (a.action == actionCommand) != validID(a.command) {
		t.Errorf("%s: the identifiers %q, %q of a real Windows are refused", file, a.shell, a.command)
	}
	if n := strings.Count(fmt.Sprint(names(truth)), "Stream"); a.action == actionOutput && n != len(a.streams) {
		t.Errorf("%s: %d streams, want %d", file, len(a.streams), n)
	}
}

func exitText(a *answer) string {
	if a.exit == nil {
		return ""
	}
	return *a.exit
}

func names(n *node) []string {
	out := []string{n.XMLName.Local}
	for i := range n.Nodes {
		out = append(out, names(&n.Nodes[i])...)
	}
	return out
}

// TestTheRecordedSessionsReadWhole replays the answers of whole sessions.
func TestTheRecordedSessionsReadWhole(t *testing.T) {
	t.Parallel()
	want := map[string]struct {
		stdout string
		code   int
	}{
		"test_winrs_send.yml": {"output 1\noutput 2\n", 0}, "test_winrs_stderr_rc.yml": {"", 1},
	}
	out, code := map[string]string{}, map[string]int{}
	for _, x := range exchanges(t) {
		a, err := parseAnswer([]byte(x.response))
		if err != nil {
			t.Fatal(err)
		}
		for _, st := range a.streams {
			if st.name == "stdout" {
				out[x.file] += string(st.data)
			}
		}
		if a.done {
			code[x.file] = a.exitCode
		}
	}
	for file, w := range want {
		if code[file] != w.code || w.stdout != "" && out[file] != w.stdout {
			t.Errorf("%s: exit code %d, output %q", file, code[file], out[file])
		}
	}
}

// shape is an envelope without what may differ from call to call: one line for
// each element with its namespace, its attributes that mean something, and its
// text where that is a constant of the protocol. Headers are a set, so lines
// are sorted.
func shape(n *node) []string {
	var out []string
	var walk func(path string, n *node)
	walk = func(path string, n *node) {
		path += "/" + n.XMLName.Space + " " + n.XMLName.Local
		line := path
		if v := n.attr("Name"); v != "" {
			line += " Name=" + v
		}
		for _, name := range []string{"CommandId", "End"} {
			if n.attr(name) != "" {
				line += " " + name
			}
		}
		if text := strings.TrimSpace(n.Text); len(n.Nodes) == 0 && constant(n.XMLName.Local) {
			line += ": " + text
		}
		out = append(out, line)
		for i := range n.Nodes {
			walk(path, &n.Nodes[i])
		}
	}
	walk("", n)
	slices.Sort(out)
	return out
}

func constant(local string) bool {
	return slices.Contains([]string{"Action", "ResourceURI", "Address", "InputStreams", "OutputStreams", "DesiredStream", "MaxEnvelopeSize"}, local)
}

// differs lists what of one shape the other lacks, apart from the differences
// between the two clients that are known and meant:
//   - pypsrp names a SessionId, which is optional and which we leave out;
//   - options: pypsrp asks for KEEPALIVE on Receive and sets a code page or no
//     profile only when told to; we always set them, and the console mode;
//   - arguments, environment and the like are extras of single recordings: our
//     command line is one string;
//   - we say how long an idle shell is kept, as one recording does, in whose words
//     and place TestAnIdleTimeIsSaidAsItWasToWindows says it;
//   - pypsrp marks every chunk with End, we only the last;
//   - mustUnderstand, which pypsrp puts into SOAP's namespace and masterzen's
//     builders into none, is left out of shapes: Windows takes both.
func differs(have, other []string) []string {
	var out []string
	for _, line := range have {
		if strings.Contains(line, "wsman.xsd SessionId") || strings.Contains(line, " Option") ||
			strings.Contains(line, " Arguments") || strings.HasSuffix(line, " IdleTimeOut") || slices.Contains(other, line) {
			continue
		}
		out = append(out, line)
	}
	return out
}

// TestOurRequestsLookLikeThoseThatWindowsAnswered compares structure: action,
// headers and body elements with their namespaces.
func TestOurRequestsLookLikeThoseThatWindowsAnswered(t *testing.T) {
	t.Parallel()
	ours := ourRequests(t)
	odd := []string{
		"create test_winrs_environment.yml", "create test_winrs_extra_opts.yml", // have more than a shell needs
		"receive test_winrs_fail_poll_process.yml", // names no command, to see fault 87
	}
	compared := map[string]int{}
	for _, x := range exchanges(t) {
		theirs := parseNode(t, x.request)
		phase := phases[theirs.find("Action").Text]
		if slices.Contains(odd, phase+" "+x.file) {
			continue
		}
		compared[phase]++
		mine := shape(parseNode(t, ours[phase]))
		their := shape(theirs)
		normalise(mine, phase)
		normalise(their, phase)
		if d := differs(mine, their); len(d) > 0 {
			t.Errorf("%s %s: we send what Windows was not seen to take:\n%s", x.file, phase, strings.Join(d, "\n"))
		}
		if d := differs(their, mine); len(d) > 0 {
			t.Errorf("%s %s: we leave out what was sent to Windows:\n%s", x.file, phase, strings.Join(d, "\n"))
		}
	}
	for _, phase := range phases {
		if compared[phase] == 0 {
			t.Errorf("no recorded %s was compared", phase)
		}
	}
}

func TestAnIdleTimeIsSaidAsItWasToWindows(t *testing.T) {
	t.Parallel()
	body, err := newRequests("https://srv1:5986/wsman", 20e9).create(time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	const said = "<rsp:OutputStreams>stdout stderr</rsp:OutputStreams><rsp:IdleTimeOut>PT60S</rsp:IdleTimeOut>"
	if !strings.Contains(string(body), said) {
		t.Errorf("we say it otherwise: %s", body)
	}
	for _, x := range exchanges(t) {
		if x.file == "test_winrs_extra_opts.yml" && strings.Contains(x.request, said) {
			if !strings.Contains(x.response, "ResourceCreated") {
				t.Errorf("Windows did not take it: %s", x.response)
			}
			return
		}
	}
	t.Error("the recording that says it is gone")
}

// normalise removes what is a choice of value rather than of structure.
func normalise(lines []string, phase string) {
	for i, l := range lines {
		if phase == "create" || !strings.Contains(l, "MaxEnvelopeSize") {
			continue
		}
		lines[i], _, _ = strings.Cut(l, ": ")
	}
}

func ourRequests(t *testing.T) map[string]string {
	t.Helper()
	r := newRequests("https://srv1:5986/wsman", 20e9)
	create, err := r.create(3 * time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	command, err := r.command("S", "cmd /c echo")
	if err != nil {
		t.Fatal(err)
	}
	send, err := r.send("S", "C", inputParts{[]byte("x")}, true)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{
		"create": string(create), "command": string(command), "send": string(send),
		"receive": string(r.receive("S", "C")), "signal": string(r.terminate("S", "C")), "delete": string(r.remove("S")),
	}
}
