package winrm

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"keyturn/pkg/needtest"
	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
	"keyturn/pkg/secret"
)

// clientKey is a self-signed client certificate and its key, in PEM.
func clientKey(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "admin"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
}

// asking makes a fake want a certificate of its clients, of an authority that
// signed none.
func asking(version uint16) func(*fake) {
	return func(f *fake) {
		f.TLS.ClientAuth, f.TLS.ClientCAs, f.TLS.MaxVersion = tls.RequireAndVerifyClientCert, x509.NewCertPool(), version
	}
}

func TestARefusalInTLSIsNoUnreachableMachine(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		version uint16
		key     []byte
		kind    pam.Kind
	}{
		"a certificate of an unknown authority": {tls.VersionTLS12, clientKey(t), pam.ErrAuthFailed},
		"none where one is wanted, TLS 1.3":     {tls.VersionTLS13, nil, pam.ErrAuthFailed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startFake(t, asking(row.version))
			target := f.target()
			target.PrivateKey = secret.New(row.key)
			_, err := NewDialer(quick()).Dial(t.Context(), target)
			wantError(t, err, outcome{row.kind, false})
			if !errors.Is(err, remote.ErrInconclusive) || !strings.Contains(err.Error(), "in TLS") {
				t.Errorf("%v", err)
			}
			if f.handshakes != 0 || len(f.requests("")) != 0 {
				t.Error("a request was answered")
			}
		})
	}
}

func TestACertificateIsNotShownToAnUntrustedServer(t *testing.T) {
	t.Parallel()
	shown := make(chan int, 10)
	f := startFake(t, func(f *fake) {
		f.TLS.ClientAuth = tls.RequestClientCert
		f.TLS.VerifyConnection = func(s tls.ConnectionState) error {
			shown <- len(s.PeerCertificates)
			return nil
		}
	})
	target := f.target()
	target.PrivateKey, target.Pin = secret.New(clientKey(t)), "sha256:"+strings.Repeat("00", 32)
	_, err := NewDialer(quick()).Dial(t.Context(), target)
	wantError(t, err, outcome{pam.ErrUntrusted, false})
	select {
	case n := <-shown:
		t.Errorf("the handshake went on, with %d certificates", n)
	default:
	}
}

// Windows asks for the certificate in a second handshake, once it has read the
// header. Go's server cannot do that; OpenSSL's can.
func TestTheCertificateIsShownInASecondHandshake(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("openssl")
	if err != nil {
		needtest.Missing(t, "no openssl: "+err.Error())
	}
	ca, cert := certificate(t, time.Now().Add(time.Hour), "127.0.0.1")
	port := freePort(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "s_server", "-tls1_2", "-accept", "127.0.0.1:"+strconv.Itoa(port), "-cert", pemFile(t, cert))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, all, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	cmd.Stdout, cmd.Stderr = all, all
	err = cmd.Start()
	_ = all.Close()
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	await := func(text string) bool {
		for lines.Scan() {
			if strings.Contains(lines.Text(), text) {
				return true
			}
		}
		return false
	}
	if !await("ACCEPT") {
		t.Fatal("openssl does not listen")
	}
	served := make(chan bool, 1)
	go func() {
		heard := await("secprofile/https/mutual")
		_, _ = in.Write([]byte("R\n")) // asks for a certificate
		heard = heard && await("CN = admin")
		_, _ = in.Write([]byte("HTTP/1.1 401 \r\nContent-Length: 0\r\n\r\n"))
		served <- heard
	}()
	_, err = NewDialer(quick()).Dial(ctx, remote.Target{
		Endpoint: remote.Endpoint{Transport: pam.WinRM, Host: "127.0.0.1", Port: port, CAPEM: ca},
		User:     "admin", PrivateKey: secret.New(clientKey(t)),
	})
	wantError(t, err, outcome{pam.ErrAuthFailed, false})
	if errors.Is(err, remote.ErrInconclusive) || !strings.Contains(err.Error(), "refused the client certificate") {
		t.Errorf("%v", err)
	}
	cancel()
	_ = cmd.Wait()
	if !<-served {
		t.Error("openssl did not see the header and, then, the certificate")
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// pemFile writes a server's certificate and key to a file.
func pemFile(t *testing.T, cert tls.Certificate) string {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	b := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	for _, der := range cert.Certificate {
		b = append(b, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	name := filepath.Join(t.TempDir(), "server.pem")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
