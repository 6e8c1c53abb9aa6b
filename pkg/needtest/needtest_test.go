package needtest

import (
	"fmt"
	"testing"
)

// A recorder is a test that remembers how it ended.
type recorder struct {
	testing.TB
	end string
}

func (r *recorder) Helper() {}
func (r *recorder) Fatalf(format string, args ...any) {
	r.end = "failed: " + fmt.Sprintf(format, args...)
}

func (r *recorder) Skip(args ...any) {
	if r.end == "" { // the real Fatalf does not come back
		r.end = "skipped: " + fmt.Sprint(args...)
	}
}

func TestMissing(t *testing.T) {
	for _, tt := range []struct{ name, require, want string }{
		{"a machine that need not have it skips and says what it lacks", "", "skipped: no sshd"},
		{"CI, which must have it, fails", "1", "failed: no sshd, and KEYTURN_TEST_REQUIRE=1"},
		{"nothing but 1 requires", "0", "skipped: no sshd"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv(Env, tt.require)
			r := &recorder{}
			Missing(r, "no sshd")
			if r.end != tt.want {
				t.Errorf("%q, want %q", r.end, tt.want)
			}
		})
	}
}
