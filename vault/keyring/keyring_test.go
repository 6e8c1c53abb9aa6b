package keyring

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/zalando/go-keyring"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
)

func TestWhereAKeyringMayBe(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, goos, address string
		file                string
		want                bool
	}{
		{"macOS has one without a bus", "darwin", "", "", true},
		{"so has Windows", "windows", "", "", true},
		{"a desktop names its bus", "linux", "unix:path=/run/x", "", true},
		{"a session of systemd has its socket in its place", "linux", "", "/run/user/1000/bus", true},
		{"the socket of somebody else is not ours", "linux", "", "/run/user/1001/bus", false},
		{"a bus that would be started is not wanted", "linux", "autolaunch:", "", false},
		{"however it is spelled", "freebsd", "autolaunch:scope=*user", "", false},
		{"a bare machine has none", "linux", "", "", false},
	} {
		getenv := func(name string) string { return map[string]string{"DBUS_SESSION_BUS_ADDRESS": tt.address}[name] }
		ok, why := busAround(tt.goos, getenv, func(path string) bool { return path == tt.file }, 1000)
		if ok != tt.want || ok != (why == "") {
			t.Errorf("%s: %v, %q", tt.name, ok, why)
		}
	}
}

// A shelf is a keyring in memory. It fails with fails, and forgets what it is given
// when it lies.
type shelf struct {
	kept  map[string]string
	fails error
	lies  bool
}

func (s shelf) get(service, user string) (string, error) {
	text, ok := s.kept[service+"/"+user]
	if s.fails == nil && !ok {
		return "", keyring.ErrNotFound
	}
	return text, s.fails
}

func (s shelf) set(service, user, value string) error {
	if s.fails == nil && !s.lies {
		s.kept[service+"/"+user] = value
	}
	return s.fails
}

func (s shelf) del(service, user string) error {
	if _, err := s.get(service, user); err != nil {
		return err
	}
	delete(s.kept, service+"/"+user)
	return nil
}

func over(s shelf) Keyring {
	return Keyring{get: s.get, set: s.set, del: s.del, reachable: func() (bool, string) { return true, "" }}
}

func TestWhatIsKeptComesBack(t *testing.T) {
	t.Parallel()
	s := shelf{kept: map[string]string{Service + "/other": "not base64!"}}
	k, ctx := over(s), t.Context()
	value := secret.Copy([]byte{0, 1, 2, 0xff, '\n'})
	if got, err := k.Get(ctx, "a"); !errors.Is(err, ErrNone) || !got.IsZero() {
		t.Errorf("before: %v", err)
	}
	if err := k.Set(ctx, "a", value); err != nil {
		t.Fatal(err)
	}
	if got, err := k.Get(ctx, "a"); err != nil || !got.Equal(value) {
		t.Errorf("another value, %v", err)
	}
	if err := k.Delete(ctx, "a"); err != nil {
		t.Error(err)
	}
	if err := k.Delete(ctx, "a"); !errors.Is(err, ErrNone) {
		t.Errorf("deleted twice: %v", err)
	}
	if _, err := k.Get(ctx, "other"); !errors.Is(err, pam.ErrInvalidInput) || strings.Contains(err.Error(), "not base64") {
		t.Errorf("somebody else's entry: %v", err)
	}
}

func TestAKeyringThatCannotBeUsedIsTold(t *testing.T) {
	t.Parallel()
	old := base64.StdEncoding.EncodeToString([]byte("old"))
	away := over(shelf{})
	away.reachable = func() (bool, string) { return false, "there is none" }
	for name, tt := range map[string]struct {
		k    Keyring
		says string
	}{
		"it fails":                              {over(shelf{fails: errors.New("prompt dismissed")}), "prompt dismissed"},
		"no such thing on this platform":        {over(shelf{fails: keyring.ErrUnsupportedPlatform}), "no keyring for this platform"},
		"it is not there":                       {away, "there is none"},
		"it does not keep what it is given":     {over(shelf{lies: true}), "did not keep"},
		"it goes on to have what it had before": {over(shelf{lies: true, kept: map[string]string{Service + "/a": old}}), "did not keep"},
	} {
		err := tt.k.Set(t.Context(), "a", secret.Copy([]byte("x")))
		if !errors.Is(err, pam.ErrIO) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A keyring may wait for a person for ever; commands do not. The clock is the bubble's.
func TestNoCallTakesLongerThanTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := make(chan struct{})
		ask := func() (int, error) {
			<-late
			return 1, nil
		}
		if n, err := answer(t.Context(), over(shelf{}), ask); n != 0 || !errors.Is(err, pam.ErrIO) || !strings.Contains(err.Error(), "within 3s") {
			t.Errorf("%d, %v", n, err)
		}
		ctx, stop := context.WithCancel(t.Context())
		stop()
		if _, err := answer(ctx, over(shelf{}), ask); !errors.Is(err, context.Canceled) {
			t.Errorf("interrupted: %v", err)
		}
		close(late)
	})
}
