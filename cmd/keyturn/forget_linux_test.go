package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// What was read and shown is garbage when the vault is locked. The password is made
// of parts, so that the search does not find itself.
func TestForgettingLeavesNoPasswordInGarbage(t *testing.T) { //nolint:paralleltest // others would make garbage meanwhile
	parts := []string{"Zx9", "canary", "in", "garbage"}
	for range 50 {
		litter(parts)
	}
	needle := []byte(strings.Join(parts, "-"))
	before := copies(t, needle)
	began := time.Now()
	forget()
	t.Logf("forgetting took %s", time.Since(began))
	// Some may be on stacks that are used no more, which nothing can get at.
	if after := copies(t, needle); before < 500 || after > before/10 {
		t.Errorf("%d copies before, %d after", before, after)
	}
}

// litter leaves a password in text of many sizes, as showing a record does.
//
//go:noinline
func litter(parts []string) {
	text := strings.Join(parts, "-")
	kept := []any{}
	for size := 1; size < 40_000; size *= 3 {
		kept = append(kept, strings.Repeat(" ", size)+text, []byte(text+strings.Repeat("x", size)), fmt.Sprintf("%q", text))
	}
	if len(kept) == 0 {
		panic("nothing")
	}
}

// copies counts how often a text is in this process's memory, without the needle itself.
func copies(t *testing.T, needle []byte) int {
	t.Helper()
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	defer maps.Close() //nolint:errcheck // only read
	mem, err := os.Open("/proc/self/mem")
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close() //nolint:errcheck // only read
	n := -1
	b := make([]byte, 0, 1<<20)
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		var from, to int64
		var mode string
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &from, &to, &mode); err != nil || !strings.HasPrefix(mode, "rw") || to-from > 1<<30 {
			continue
		}
		for at := from; at < to; at += int64(cap(b)) {
			part := b[:min(int64(cap(b)), to-at)]
			if _, err := mem.ReadAt(part, at); err == nil {
				n += bytes.Count(part, needle)
			}
			clear(part)
		}
	}
	return n
}
