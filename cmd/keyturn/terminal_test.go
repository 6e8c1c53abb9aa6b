//go:build linux || darwin

package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"keyturn/pkg/needtest"
)

func TestASecretIsNotShownWhileItIsTyped(t *testing.T) {
	t.Parallel()
	master, slave, err := pty.Open()
	if err != nil {
		needtest.Missing(t, "no pseudo terminal here: "+err.Error())
	}
	t.Cleanup(func() {
		_ = slave.Close()
		_ = master.Close()
	})
	echo := func() bool {
		state, err := unix.IoctlGetTermios(int(slave.Fd()), getTermios)
		if err != nil {
			t.Fatal(err)
		}
		return state.Lflag&unix.ECHO != 0
	}
	if !echo() {
		t.Fatal("a new terminal does not echo")
	}
	restore, err := quiet(slave)
	if err != nil {
		t.Fatal(err)
	}
	if echo() {
		t.Error("the terminal shows what is typed")
	}
	restore()
	if !echo() {
		t.Error("the terminal stays silent afterwards")
	}
}

func TestALineIsReadUpToItsEndAndNoFurther(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want, rest string }{
		{"secret\nnext\n", "secret", "next\n"},
		{"windows\r\n", "windows", ""},
		{"\n", "", ""},
		{"no newline", "no newline", ""},
	} {
		r := strings.NewReader(c.in)
		got, err := typed(r)
		if err != nil || string(got) != c.want || r.Len() != len(c.rest) {
			t.Errorf("typed(%q) = %q, %v with %d left", c.in, got, err, r.Len())
		}
	}
	if _, err := typed(strings.NewReader("")); err == nil {
		t.Error("an end without a line is no answer")
	}
	if _, err := typed(strings.NewReader(strings.Repeat("x", 2*maxTyped))); err == nil {
		t.Error("an endless line is no answer")
	}
}

// Who mistypes the present master password is told so before a new one is asked for.
func TestPasswdTellsOfAMistypedPasswordAtOnce(t *testing.T) {
	t.Parallel()
	dir := home(t)
	batch(t, dir, "init --kdf-memory 19456", "login")
	defer batch(t, dir, "logout")
	nobody := slices.DeleteFunc(environment(dir), func(v string) bool { return strings.HasPrefix(v, "KEYTURN_PASSWORD_FILE=") })
	s := openTermWith(t, dir, nobody, "passwd")
	s.expect(`^Master password: $`)
	s.send("wrong\r")
	s.expect(`^\nkeyturn: wrong master password; nothing changed\n`)
	s.exited(4)
	s = openTermWith(t, dir, nobody, "passwd")
	s.expect(`^Master password: $`)
	s.send("correct horse\r")
	s.expect(`^\nNew master password: $`)
	s.send("\x03")
	s.exited(130)
}
