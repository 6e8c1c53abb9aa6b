package commands_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keyturn/commands"
	"keyturn/pkg/pam"
)

func TestAFieldIsReadAsCommanderReadsIt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, arg string
		want      commands.Assignment
	}{
		{"a type and a value", "login=me", commands.Assignment{Type: "login", Value: "me"}},
		{"a backslash stays", `login=LAB\svc_app`, commands.Assignment{Type: "login", Value: `LAB\svc_app`}},
		{"a label", "text.operatingSystem=windows", commands.Assignment{Type: "text", Label: "operatingSystem", Value: "windows"}},
		{"a custom field", "c.text.serverPin=sha256:00", commands.Assignment{
			Where: commands.WhereCustom, Type: "text", Label: "serverPin", Value: "sha256:00",
		}},
		{"a defined field", "F.login=me", commands.Assignment{Where: commands.WhereFixed, Type: "login", Value: "me"}},
		{"an equal sign in the label", "c.text.a==b=c=d", commands.Assignment{
			Where: commands.WhereCustom, Type: "text", Label: "a=b", Value: "c=d",
		}},
		{"a label with dots", "text.a.b=c", commands.Assignment{Type: "text", Label: "a.b", Value: "c"}},
		{"a value that begins with an equal sign", "text.x= =5", commands.Assignment{Type: "text", Label: "x", Value: "=5"}},
		{"no value", "password=", commands.Assignment{Type: "password"}},
		{"a value that is a host key", `c.text.hostKey=ssh-ed25519 AAAA==`, commands.Assignment{
			Where: commands.WhereCustom, Type: "text", Label: "hostKey", Value: "ssh-ed25519 AAAA==",
		}},
	} {
		got, err := commands.ParseAssignment(c.arg)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
}

func TestAnErrorNeverHoldsTheValue(t *testing.T) {
	t.Parallel()
	for _, arg := range []string{"hunter2", "=hunter2", "password==hunter2", "c.=hunter2", " =hunter2"} {
		_, err := commands.ParseAssignment(arg)
		if pam.KindOf(err) != pam.ErrUsage || strings.Contains(err.Error()+pam.HintOf(err), "hunter2") {
			t.Errorf("ParseAssignment(%q): %v", arg, err)
		}
	}
}

func FuzzParseAssignment(f *testing.F) {
	for _, arg := range []string{"login=x", "c.text.a==b=c", "f.x= =y", "=", "==", "===", "a.b.c=", "text.x=  =5"} {
		f.Add(arg)
	}
	f.Fuzz(func(t *testing.T, arg string) {
		a, err := commands.ParseAssignment(arg)
		if err != nil {
			return
		}
		again, err := commands.ParseAssignment(a.String())
		if err != nil {
			t.Fatalf("%q was read as %+v, whose text %q is refused: %v", arg, a, a.String(), err)
		}
		if d := cmp.Diff(a, again); d != "" {
			t.Fatalf("%q: %s", arg, d)
		}
	})
}
