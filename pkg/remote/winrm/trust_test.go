package winrm

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
	"keyturn/pkg/secret"
)

// serving makes a fake show a certificate for names that ends at end.
func serving(t *testing.T, end time.Time, names ...string) func(*fake) {
	t.Helper()
	ca, cert := certificate(t, end, names...)
	return func(f *fake) {
		f.ca = ca
		f.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	}
}

func TestACertificateThatIsNotRightIsShownAndGetsNoByte(t *testing.T) {
	t.Parallel()
	tomorrow, yesterday := time.Now().Add(24*time.Hour), time.Now().Add(-24*time.Hour)
	otherCA, _ := certificate(t, tomorrow, "127.0.0.1")
	rows := []struct {
		name   string
		server func(*fake)
		change func(*remote.Target)
	}{
		{"another name", serving(t, tomorrow, "other.example"), nil},
		{"no name at all", serving(t, tomorrow), nil},
		{"an expired one", serving(t, yesterday, "127.0.0.1"), nil},
		{"one not valid yet", serving(t, tomorrow.Add(240*time.Hour), "127.0.0.1"), nil},
		{"another authority", func(*fake) {}, func(t *remote.Target) { t.CAPEM = otherCA }},
		{"the system's authorities only", func(*fake) {}, func(t *remote.Target) { t.CAPEM = nil }},
		{"a CA file without a certificate", func(*fake) {}, func(t *remote.Target) { t.CAPEM = []byte("-----BEGIN NOTHING-----") }},
		{"another pin", func(*fake) {}, func(t *remote.Target) { t.Pin = "sha256:" + strings.Repeat("00", 32) }},
		{"a pin that is none", func(*fake) {}, func(t *remote.Target) { t.Pin = "nonsense" }},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			f := startFake(t, row.server)
			target := f.target()
			if row.change != nil {
				row.change(&target)
			}
			_, err := NewDialer(quick()).Dial(t.Context(), target)
			wantError(t, err, outcome{pam.ErrUntrusted, false})
			var e *remote.Error
			if !errors.As(err, &e) || e.Server != remote.Pin(f.Certificate()) || !strings.HasPrefix(e.Fingerprint, "SHA256:") {
				t.Errorf("the server is shown as %q, %q", e.Server, e.Fingerprint)
			}
			if f.anonymous+f.accepted+f.refused != 0 {
				t.Error("HTTP was spoken")
			}
		})
	}
}

func TestAPinStandsInPlaceOfChainAndName(t *testing.T) {
	t.Parallel()
	f := startFake(t, serving(t, time.Now().Add(-time.Hour), "other.example"))
	target := f.target()
	target.CAPEM = nil
	for _, pin := range []string{remote.Pin(f.Certificate()), strings.ToUpper(remote.Pin(f.Certificate()))} {
		target.Pin = pin
		s, err := NewDialer(quick()).Dial(t.Context(), target)
		if err != nil {
			t.Fatal(err)
		}
		_ = s.Close()
	}
}

func TestWhatSpeaksNoTLSIsUnreachable(t *testing.T) {
	t.Parallel()
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	old := httptest.NewUnstartedServer(http.NotFoundHandler())
	old.Config.ErrorLog = log.New(io.Discard, "", 0)
	old.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	old.StartTLS()
	t.Cleanup(old.Close)
	mute, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = mute.Close() })
	for name, addr := range map[string]net.Addr{"plain HTTP": plain.Listener.Addr(), "TLS 1.1": old.Listener.Addr(), "a mute port": mute.Addr()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host, port, _ := net.SplitHostPort(addr.String())
			n, _ := strconv.Atoi(port)
			target := remote.Target{Endpoint: remote.Endpoint{Host: host, Port: n}, User: "u", Password: secret.New([]byte("p"))}
			o := quick()
			o.Connect = time.Second
			_, err := NewDialer(o).Dial(t.Context(), target)
			wantError(t, err, outcome{pam.ErrUnreachable, false})
		})
	}
}

func TestARecordThatCannotBeDialledIsRefused(t *testing.T) {
	t.Parallel()
	good := remote.Target{Endpoint: remote.Endpoint{Host: "127.0.0.1", Port: 1}, User: "u", Password: secret.New([]byte("p"))}
	rows := map[string]func(*remote.Target){
		"a host that breaks a header": func(t *remote.Target) { t.Host = "a\r\nX: y" },
		"a host that breaks XML":      func(t *remote.Target) { t.Host = "a<b" },
		"a host that is a path":       func(t *remote.Target) { t.Host = "a/b" },
		"no host":                     func(t *remote.Target) { t.Host = "" },
		"no port":                     func(t *remote.Target) { t.Port = 0 },
		"no user":                     func(t *remote.Target) { t.User = "" },
		"no password":                 func(t *remote.Target) { t.Password = secret.Value{} },
	}
	for name, change := range rows {
		target := good
		change(&target)
		if _, err := NewDialer(quick()).Dial(t.Context(), target); err == nil {
			t.Errorf("%s was dialled", name)
		}
	}
}

func TestARefusedLogInIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	for name, offers := range map[string][]string{
		"both offered": {`Basic realm="x"`, "Negotiate", "Kerberos"}, "in one line": {`Kerberos, Negotiate, Basic realm="a, NTLM"`},
		"NTLM by its name": {"NTLM"}, "Basic only": {`Basic realm="x"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startFake(t, func(f *fake) { f.offers = offers })
			target := f.target()
			target.Password = secret.New([]byte("wrong"))
			_, err := NewDialer(quick()).Dial(t.Context(), target)
			wantError(t, err, outcome{pam.ErrAuthFailed, false})
			if errors.Is(err, remote.ErrInconclusive) {
				t.Error("the server said no, the error says that it said nothing")
			}
			if f.refused != 1 {
				t.Errorf("%d attempts", f.refused)
			}
			if f.conns != 1 {
				t.Errorf("%d connections", f.conns)
			}
		})
	}
}

func TestALogInWithoutAVerdictSaysSo(t *testing.T) {
	t.Parallel()
	garbage := map[string]string{
		"no scheme of ours":          "Kerberos",
		"no challenge":               "Negotiate",
		"a challenge without base64": "Negotiate !!!",
		"a challenge of nothing":     "Negotiate AAAA",
		"a challenge without end":    "Negotiate " + strings.Repeat("A", 60_000),
		"a challenge that lies":      "Negotiate " + base64.StdEncoding.EncodeToString(append([]byte("NTLMSSP\x00\x02\x00\x00\x00"), []byte(strings.Repeat("\xff", 60))...)),
	}
	for name, header := range garbage {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			credentials := 0
			srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if raw, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(r.Header.Get("Authorization"), "Negotiate ")); len(raw) > 8 && raw[8] == 3 {
					credentials++
				}
				w.Header().Set("WWW-Authenticate", header)
				w.WriteHeader(http.StatusUnauthorized)
			}))
			t.Cleanup(srv.Close)
			host, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
			n, _ := strconv.Atoi(port)
			target := remote.Target{
				Endpoint: remote.Endpoint{Host: host, Port: n, Pin: remote.Pin(srv.Certificate())},
				User:     "u", Password: secret.New([]byte("p")),
			}
			_, err := NewDialer(quick()).Dial(t.Context(), target)
			wantError(t, err, outcome{pam.ErrAuthFailed, false})
			if !errors.Is(err, remote.ErrInconclusive) || credentials != 0 {
				t.Errorf("%v; %d credentials were sent", err, credentials)
			}
		})
	}
}

func TestAUserWithoutRightsHasNotAWrongPassword(t *testing.T) {
	t.Parallel()
	f := startFake(t, tell("create", 1, func(w http.ResponseWriter, _ *http.Request) {
		sayFault(w, "w:AccessDenied", codeAccessDenied, "Access is denied.")
	}))
	_, err := NewDialer(quick()).Dial(t.Context(), f.target())
	wantError(t, err, outcome{pam.ErrAuthFailed, false})
	if !errors.Is(err, remote.ErrInconclusive) {
		t.Errorf("%v reads as a wrong password", err)
	}
}

func TestAServerThatAsksForNoLogInIsNotWinRM(t *testing.T) {
	t.Parallel()
	srv := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(srv.Close)
	host, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	n, _ := strconv.Atoi(port)
	target := remote.Target{
		Endpoint: remote.Endpoint{Host: host, Port: n, Pin: remote.Pin(srv.Certificate())}, User: "u", Password: secret.New([]byte("p")),
	}
	_, err := NewDialer(quick()).Dial(t.Context(), target)
	wantError(t, err, outcome{pam.ErrIO, false})
}

func TestUserNamesOnTheWire(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{`.\rotator`: "rotator", `LAB\rotator`: `LAB\rotator`, "rotator@lab.example": "rotator@lab.example", "rotator": "rotator"} {
		if got := account(in); got != want {
			t.Errorf("%s goes out as %s, want %s", in, got, want)
		}
	}
}

func TestADeadlineWhileDiallingIsTheCallers(t *testing.T) {
	t.Parallel()
	f := startFake(t, tell("create", 1, silence))
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := NewDialer(quick()).Dial(ctx, f.target())
	wantError(t, err, outcome{pam.ErrUnreachable, false})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v does not wrap the deadline", err)
	}
}

// ntlmServer challenges like a real one and leaves the verdict to finish.
func ntlmServer(t *testing.T, finish lie) (remote.Target, *atomic.Int64) {
	t.Helper()
	var credentials atomic.Int64
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(r.Header.Get("Authorization"), "Negotiate "))
		switch {
		case len(b) > 8 && b[8] == 3:
			credentials.Add(1)
			finish(w, r)
			return
		case len(b) > 8:
			w.Header().Set("WWW-Authenticate", "Negotiate "+base64.StdEncoding.EncodeToString(challengeMessage([]byte("12345678"))))
		default:
			w.Header().Set("WWW-Authenticate", "Negotiate")
		}
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(srv.Close)
	host, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	n, _ := strconv.Atoi(port)
	return remote.Target{
		Endpoint: remote.Endpoint{Host: host, Port: n, Pin: remote.Pin(srv.Certificate())},
		User:     "u", Password: secret.New([]byte("p")),
	}, &credentials
}

func TestARefusalThatIsCutShortIsStillARefusal(t *testing.T) {
	t.Parallel()
	for name, finish := range map[string]lie{
		"half a body": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100000")
			w.WriteHeader(http.StatusUnauthorized)
			halfAnswer(w, r)
		},
		"a body without end": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusUnauthorized)
			endless(w, r)
		},
		"a body that trickles": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusUnauthorized)
			trickle(w, r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target, credentials := ntlmServer(t, finish)
			_, err := NewDialer(impatient()).Dial(t.Context(), target)
			wantError(t, err, outcome{pam.ErrAuthFailed, false})
			if errors.Is(err, remote.ErrInconclusive) || credentials.Load() != 1 {
				t.Errorf("%v after %d attempts", err, credentials.Load())
			}
		})
	}
}

func TestARefusalStandsThoughTheCallerGaveUp(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	target, _ := ntlmServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		_ = http.NewResponseController(w).Flush()
		time.AfterFunc(100*time.Millisecond, cancel)
		<-r.Context().Done()
	})
	_, err := NewDialer(quick()).Dial(ctx, target)
	wantError(t, err, outcome{pam.ErrAuthFailed, false})
}
