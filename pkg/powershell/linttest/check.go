package linttest

import (
	"os"
	"reflect"
	"testing"
)

// Check fails t unless scripts pass the engine's lint and the file record holds
// what it said of exactly these scripts, which are sent together with beside.
// Without an engine it checks the SHA-256 of the scripts and skips the rest;
// UPDATE=1 with one rewrites record.
func Check(t *testing.T, scripts map[string][]byte, beside []byte, record string) {
	t.Helper()
	engine := os.Getenv(EnvEngine)
	if engine == "" {
		r, err := ReadRecord(record)
		if err != nil {
			t.Fatal(err)
		}
		if bad := r.Stale(scripts); len(bad) > 0 {
			t.Fatalf("%q: run this test with %s and UPDATE=1", bad, EnvEngine)
		}
		t.Skipf("%s names no engine that lints; the recorded lint is of these scripts", EnvEngine)
	}
	got, problems, err := Run(t.Context(), engine, t.TempDir(), scripts, beside)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Error(p)
	}
	if os.Getenv("UPDATE") == "1" {
		if err := got.Write(record); err != nil {
			t.Fatal(err)
		}
	}
	want, err := ReadRecord(record)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(want, got) {
		t.Error("the recorded lint is of other scripts: run this test with UPDATE=1")
	}
}
