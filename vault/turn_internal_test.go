package vault

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A turn that somebody keeps is waited for once; what lies in its place by mistake,
// not at all.
func TestATurnIsWaitedForOnce(t *testing.T) {
	t.Parallel()
	v := &Vault{dir: t.TempDir()}
	held := v.waitTurn(t.Context())
	if held == nil {
		t.Fatal("a free turn was not had")
	}
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if l := v.waitTurn(short); l != nil || !v.impatient.Load() {
		t.Fatalf("two have it: %v", l)
	}
	if l := v.waitTurn(t.Context()); l != nil || !v.impatient.Load() {
		t.Errorf("the second time: %v", l)
	}
	if err := held.Release(); err != nil {
		t.Fatal(err)
	}
	l := v.waitTurn(t.Context())
	if l == nil || v.impatient.Load() {
		t.Fatal("it is free again and was not had")
	}
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(v.dir, locksDir, turnLock)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if l := v.waitTurn(t.Context()); l != nil || v.impatient.Load() {
		t.Errorf("a folder is a lock: %v", l)
	}
}
