package powershell_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"unicode/utf16"

	"keyturn/pkg/pam"
	"keyturn/pkg/powershell"
	"keyturn/pkg/remote"
	"keyturn/pkg/secret"
)

const nonce = "9f2c"

func lines(t require, all ...powershell.Line) []byte {
	t.Helper()
	var b bytes.Buffer
	for n, l := range all {
		if l.N == "" {
			l.N = nonce
		}
		if l.T == "bye" && l.Counts == nil {
			l.Counts = map[string]int{powershell.CountLines: n}
		}
		if err := powershell.WriteLine(&b, l); err != nil {
			t.Fatalf("%v", err)
		}
	}
	return b.Bytes()
}

func hello() powershell.Line { return powershell.Line{T: "hello", Host: "SRV1"} }

// bye is the end marker; with after it says how many lines came before it, which
// lines otherwise counts.
func bye(after ...int) powershell.Line {
	l := powershell.Line{T: "bye"}
	for _, n := range after {
		l.Counts = map[string]int{powershell.CountLines: n}
	}
	return l
}

func item(id string) powershell.Line {
	return powershell.Line{T: "item", Phase: "update", Kind: "service", ID: id, Status: "ok"}
}

func collect(out []byte, secrets ...string) (powershell.Answer, error) {
	c := powershell.NewCollector(nonce, values(secrets...), nil)
	_, _ = c.Write(out)
	return c.Finish()
}

func TestAnswerIsTheSameHoweverItIsSplit(t *testing.T) {
	t.Parallel()
	shown := "Dienst \"Ä\" 服务\n#WSX {\"t\":\"bye\",\"n\":\"9f2c\"}\n"
	i := item("AppSvc")
	i.Display = shown
	out := append([]byte("profile banner\r\n\r\n"), lines(t, hello(), i, powershell.Line{
		T: "item", Phase: "update", Kind: "task", ID: `\Nächtlich`, Status: "failed",
		Err: &powershell.Err{Class: powershell.ClassAccessDenied, Native: 5, Msg: "Zugriff verweigert"},
	}, bye())...)
	want, err := collect(out)
	if err != nil || len(want.Items) != 2 || want.Hello.Host != "SRV1" || !strings.Contains(want.Items[0].Display, "服务 #WSX") || string(want.Noise) != "profile banner\n" {
		t.Fatalf("%v %+v", err, want)
	}
	for at := range out {
		heard := 0
		c := powershell.NewCollector(nonce, nil, func(powershell.Line) { heard++ })
		_, _ = c.Write(out[:at])
		_, _ = c.Write(out[at:])
		got, err := c.Finish()
		if err != nil || fmt.Sprintf("%+v", got.Items[1].Err) != fmt.Sprintf("%+v", want.Items[1].Err) || len(got.Items) != 2 || heard != 4 {
			t.Fatalf("split at %d: %v %+v", at, err, got)
		}
		c = powershell.NewCollector(nonce, nil, nil)
		_, _ = c.Write(out[:at])
		if _, err := c.Finish(); !errors.Is(err, pam.ErrIO) || !strings.Contains(err.Error(), "without its end marker") {
			t.Fatalf("cut at %d: %v", at, err)
		}
	}
}

func TestWhatDoesNotBelongIsNoise(t *testing.T) {
	t.Parallel()
	foreign := item("Foreign")
	foreign.N = "dead"
	replayed := bye()
	replayed.N = "dead"
	none := []byte(`#WSX {"t":"bye"}` + "\n")
	unknown := item("Phase")
	unknown.Phase = "format"
	out := bytes.Join([][]byte{
		lines(t, replayed, foreign, hello(), unknown), none, []byte("#WSX {broken\n#WSX\n x#WSX {}\n"), lines(t, item("Real"), bye(2), item("Late")),
		[]byte(`#WSX {"t":"fatal","class":"transport_corrupt"}` + "\n"),
	}, nil)
	a, err := collect(out)
	if err != nil || len(a.Items) != 1 || a.Items[0].ID != "Real" || !bytes.Contains(a.Noise, []byte("Late")) {
		t.Errorf("%v %+v", err, a)
	}
	if a, err := collect(lines(t, hello(), replayed)); err == nil || a.Bye.T != "" {
		t.Errorf("a foreign end marker was believed: %+v", a)
	}
}

func TestFatalLines(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, out, class string
		kind             pam.Kind
		nothing          bool
	}{
		{"a damaged frame", "\n#WSX {\"t\":\"fatal\",\"class\":\"transport_truncated\",\"got\":5,\"want\":81}\n", powershell.ClassTransportTruncated, pam.ErrIO, true},
		{"constrained language", `#WSX {"t":"fatal","class":"constrained_language"}` + "\n", powershell.ClassConstrained, pam.ErrPolicy, true},
		{"not elevated", string(lines(t, hello(), powershell.Line{T: "fatal", Class: powershell.ClassNotElevated}, bye())), powershell.ClassNotElevated, pam.ErrPolicy, true},
		{"a failure at work", string(lines(t, hello(), powershell.Line{T: "fatal", Class: powershell.ClassInternal})), powershell.ClassInternal, pam.ErrInternal, false},
		{"an unknown class", string(lines(t, hello(), powershell.Line{T: "fatal", Class: "\x1b[2J"})), powershell.ClassUnknown, pam.ErrInternal, false},
	} {
		_, err := collect([]byte(row.out))
		f, ok := errors.AsType[*powershell.FatalError](err)
		if !ok || f.Class != row.class || !errors.Is(err, row.kind) || f.NothingRan() != row.nothing || pam.HintOf(err) == "" {
			t.Errorf("%s: %v", row.name, err)
		}
	}
	if _, err := collect([]byte(`#WSX {"t":"fatal","class":"internal"}` + "\n")); errors.As(err, new(*powershell.FatalError)) {
		t.Error("a fatal line without the nonce may only be of the bootstrap")
	}
}

func TestLostLinesAreNoticed(t *testing.T) {
	t.Parallel()
	end := bye()
	end.Counts = map[string]int{powershell.CountLines: 3, "ok": 2}
	if _, err := collect(lines(t, hello(), item("A"), item("B"), end)); err != nil {
		t.Error(err)
	}
	if _, err := collect(lines(t, hello(), item("B"), end)); !errors.Is(err, pam.ErrIO) {
		t.Errorf("a lost line: %v", err)
	}
}

func TestSizesAreCapped(t *testing.T) {
	t.Parallel()
	c := powershell.NewCollector(nonce, nil, nil)
	for range 40 {
		_, _ = c.Write(bytes.Repeat([]byte("x"), 100_000))
	}
	_, _ = c.Write([]byte("\n"))
	long := item(strings.Repeat("é", 5000))
	_, _ = c.Write(lines(t, hello(), long, bye()))
	a, err := c.Finish()
	if err != nil || len(a.Noise) > 70_000 || len(a.Items) != 1 || len([]rune(a.Items[0].ID)) > 1100 {
		t.Errorf("%v: noise %d", err, len(a.Noise))
	}
	c = powershell.NewCollector(nonce, nil, nil)
	one := lines(t, item("A"))
	for range 100_001 {
		_, _ = c.Write(one)
	}
	if _, err := c.Finish(); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("endless lines: %v", err)
	}
}

func TestSecretsAreScrubbed(t *testing.T) {
	t.Parallel()
	const canary = `Ké"y<7>&'ő\ 😀x9`
	wide := func(s string) []byte {
		var b []byte
		for _, u := range utf16.Encode([]rune(s)) {
			b = append(b, byte(u), byte(u>>8))
		}
		return b
	}
	quoted, _ := json.Marshal(canary)
	var escaped, all strings.Builder
	for _, u := range utf16.Encode([]rune(canary)) {
		fmt.Fprintf(&all, `\u%04X`, u)
		if u < ' ' || u > '~' {
			fmt.Fprintf(&escaped, `\u%04x`, u)
			continue
		}
		if u == '"' || u == '\\' {
			escaped.WriteByte('\\')
		}
		escaped.WriteByte(byte(u))
	}
	b64 := base64.StdEncoding.EncodeToString
	forms := map[string]string{
		"raw": canary, "with controls": strings.Replace(canary, "y", "\x00y\x1b", 1), "base64": b64([]byte(canary)), "base64 of UTF-16": b64(wide(canary)),
		"inside base64": b64([]byte("ab" + canary + "tail")), "inside base64 2": b64([]byte("a" + canary + "tail")), "base64 url": base64.URLEncoding.EncodeToString([]byte(canary)),
		"json": string(quoted[1 : len(quoted)-1]), "escaped": escaped.String(), "all escaped": all.String(), "xml": `Ké&#34;y&lt;7&gt;&amp;&#39;ő\ 😀x9`,
		"query": url.QueryEscape(canary), "path": strings.ToLower(url.PathEscape(canary)), "hex": fmt.Sprintf("%X", canary),
	}
	for name, form := range forms {
		l := item("AppSvc")
		l.Reason, l.Err = form, &powershell.Err{Class: "unknown", Msg: "before " + form + " after"}
		l.Display = form
		out := append(lines(t, hello(), l), []byte("noise "+form+"\n")...)
		a, err := collect(append(out, lines(t, bye(2))...), canary)
		if err != nil {
			t.Fatal(err)
		}
		got := a.Items[0]
		for _, text := range []string{got.Err.Msg, got.Reason, got.Display, string(a.Noise)} {
			core := form[4 : len(form)-6]
			if strings.Contains(text, core) || strings.Contains(text, "x9") && name != "noise" && strings.Contains(text, "7") || !strings.Contains(text, "[redacted]") {
				t.Errorf("%s: %q", name, text)
			}
		}
	}
}

func TestEveryClassIsExplained(t *testing.T) {
	t.Parallel()
	for _, c := range []string{powershell.ClassRejected, powershell.ClassNotElevated, powershell.ClassStopTimeout, powershell.ClassStateChanged} {
		if powershell.Explain(c) == "" || powershell.Explain(c) == powershell.Explain("no such class") {
			t.Errorf("%s: %q", c, powershell.Explain(c))
		}
	}
	if powershell.KindOf("no such class") != pam.ErrInternal {
		t.Error("an unknown class is a failure")
	}
}

type session func(remote.Script, powershell.Frame) (remote.Result, error)

func (s session) Run(_ context.Context, script remote.Script, parts ...secret.Value) (remote.Result, error) {
	in := secret.Join(parts...)
	f, err := powershell.ReadFrame(bytes.NewReader(in.Reveal()))
	if err != nil {
		return remote.Result{}, err
	}
	return s(script, f)
}
func (session) Close() error { return nil }

func TestCall(t *testing.T) {
	t.Parallel()
	broken := &remote.Error{Kind: pam.ErrIO, Address: "srv1:5986", Op: "read", Err: errors.New("reset"), Sent: true}
	for _, row := range []struct {
		name  string
		op    powershell.Op
		lines []powershell.Line
		err   error
		want  pam.Kind
		items int
	}{
		{"a whole answer", powershell.OpUpdate, []powershell.Line{hello(), item("A"), bye(2)}, nil, "", 1},
		{"a whole answer and a session that broke after it", powershell.OpUpdate, []powershell.Line{hello(), item("A"), bye(2)}, broken, "", 1},
		{"a session that broke within the answer", powershell.OpRestart, []powershell.Line{hello(), item("A")}, broken, pam.ErrIO, 1},
		{"a command that claims success and says nothing", powershell.OpUpdate, nil, nil, pam.ErrIO, 0},
		{"a refusal breaks the pipe", powershell.OpUpdate, []powershell.Line{{T: "fatal", Class: powershell.ClassNotElevated}}, broken, pam.ErrPolicy, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			heard := 0
			s := session(func(script remote.Script, f powershell.Frame) (remote.Result, error) {
				if script.Line != powershell.CommandLine() || script.KeepRunning != (row.op == powershell.OpRestart) || len(f.Request.Nonce) != 32 ||
					f.Request.V != 1 || f.Request.DeadlineMs <= 0 || string(f.Secrets[0].Reveal()) != "hunter2" {
					t.Errorf("%+v %+v", script, f.Request)
				}
				for _, l := range row.lines {
					l.N = f.Request.Nonce
					script.OnOutput(lines(t, l))
				}
				return remote.Result{Stderr: []byte("hunter2 on stderr")}, row.err
			})
			a, err := powershell.Call(t.Context(), s, rand.Reader, powershell.Request{Op: row.op}, values("hunter2"), func(powershell.Line) { heard++ })
			if (err == nil) != (row.want == "") || err != nil && pam.KindOf(err) != row.want && !errors.Is(err, row.want) || len(a.Items) != row.items || heard != len(row.lines) {
				t.Errorf("%v %+v, heard %d", err, a, heard)
			}
			if bytes.Contains(a.Noise, []byte("hunter2")) || err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("a secret: %s %v", a.Noise, err)
			}
		})
	}
}

// Another script of ours answers in facts, under the same rules.
func TestCallMain(t *testing.T) {
	t.Parallel()
	main := append(powershell.Library(), "'mine'"...)
	if bytes.Contains(main, []byte("Invoke-WsxMain")) || !bytes.HasPrefix(powershell.Script(), powershell.Library()) {
		t.Error("the library is not the shipped script without the part that runs")
	}
	s := session(func(script remote.Script, f powershell.Frame) (remote.Result, error) {
		if script.Line != powershell.CommandLine() || !script.KeepRunning || !bytes.Equal(f.Main, main) {
			t.Errorf("%+v", script)
		}
		end := bye()
		end.Counts = map[string]int{powershell.CountLines: 2}
		for _, l := range []powershell.Line{hello(), {T: "fact", ID: "a", Value: "hunter2 is\x1b[31m red"}, end} {
			l.N = f.Request.Nonce
			script.OnOutput(lines(t, l))
		}
		return remote.Result{}, nil
	})
	a, err := powershell.CallMain(t.Context(), s, rand.Reader, powershell.Main{Script: main, KeepRunning: true},
		powershell.Request{Op: "mine"}, values("hunter2"), nil)
	if err != nil || len(a.Facts) != 1 || a.Facts[0].ID != "a" || strings.ContainsAny(a.Facts[0].Value, "\x1b") || strings.Contains(a.Facts[0].Value, "hunter2") {
		t.Errorf("%v %+v", err, a)
	}
}

func FuzzCollector(f *testing.F) {
	t := fatal{f}
	f.Add(lines(t, hello(), item("A"), bye()))
	f.Add([]byte("#WSX {\"t\":\"item\",\"n\":\"9f2c\",\"match\":null,\"before\":{},\"err\":{\"class\":\"\"}}\n"))
	f.Fuzz(func(t *testing.T, out []byte) {
		a, err := collect(out, "hunter2-canary")
		if err == nil && a.Bye.N != nonce {
			t.Errorf("an end without the nonce")
		}
		if b, _ := json.Marshal(a); bytes.Contains(b, []byte("hunter2-canary")) {
			t.Errorf("a secret: %s", b)
		}
	})
}
