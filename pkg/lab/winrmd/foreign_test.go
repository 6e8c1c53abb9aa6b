package winrmd

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Azure/go-ntlmssp"

	"keyturn/pkg/needtest"
)

// opensslConf switches on the legacy provider: pywinrm's NTLM needs MD4.
const opensslConf = `openssl_conf = init
[init]
providers = all
[all]
default = on
legacy = on
[on]
activate = 1
`

// foreign runs a program that did not come with Keyturn, without the proxies
// and certificate bundles of whoever runs the test.
func foreign(t *testing.T, stdin string, name string, args ...string) []byte {
	t.Helper()
	conf := filepath.Join(t.TempDir(), "openssl.cnf")
	if err := os.WriteFile(conf, []byte(opensslConf), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "OPENSSL_CONF=" + conf, "PYTHONWARNINGS=ignore", "NO_PROXY=*"}
	cmd.Stdin = strings.NewReader(stdin)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s", name, err, errs.Bytes())
	}
	return out
}

func TestPywinrm(t *testing.T) {
	t.Parallel()
	const python = "/usr/bin/python3"
	if exec.CommandContext(t.Context(), python, "-c", "import winrm, requests_ntlm").Run() != nil {
		needtest.Missing(t, "pywinrm of "+python+" is missing")
	}
	for _, transport := range []string{"basic", "ntlm"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			password := "Pa$$ wörd:1"
			if transport == "basic" {
				password = "plain:1" // requests encodes Basic as Latin-1
			}
			s := serverFor(t, &desk{password: password})
			out := foreign(t, password, python, "testdata/pywinrm_check.py", s.URL(), transport, `LAB\admin`)
			var got map[string]any
			if err := json.Unmarshal(out, &got); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			delete(got, "version")
			want := `{"echo":["hi there\r\n","",0],"exit":["","",42],"long":["slept\r\n","",0],"stderr":["","careful\r\n",0],"wrong":"refused"}`
			if b, _ := json.Marshal(got); string(b) != want {
				t.Errorf("got  %s\nwant %s", b, want)
			}
			c := s.Counts()
			if c.Phases[PhaseReceive] < 6 {
				t.Errorf("%d receives: the long command was not polled", c.Phases[PhaseReceive])
			}
			if c.LogInsRefused == 0 || c.LogIns == 0 {
				t.Errorf("log-ins not counted: %+v", c)
			}
		})
	}
}

func TestCurl(t *testing.T) {
	t.Parallel()
	curl, err := exec.LookPath("curl")
	if err != nil {
		needtest.Missing(t, "curl is missing")
	}
	rows := []struct{ name, how, password, want string }{
		{"ntlm", "--ntlm", "Pa$$ word:1", "200"},
		{"a wrong password by ntlm", "--ntlm", "wrong", "401"},
		{"basic", "--basic", "Pa$$ word:1", "200"},
		{"a wrong password by basic", "--basic", "wrong", "401"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := serverFor(t, &desk{password: "Pa$$ word:1"})
			identify := `<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Header/><s:Body>` +
				`<i:Identify xmlns:i="http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd"/></s:Body></s:Envelope>`
			config := `user = "LAB\\admin:` + row.password + "\"\n"
			got := foreign(t, config, curl, "-s", "-K", "-", "-k", row.how, "-H", "Content-Type: application/soap+xml;charset=UTF-8",
				"-d", identify, "-o", os.DevNull, "-w", "%{http_code}", s.URL())
			if string(got) != row.want {
				t.Errorf("got %s, want %s", got, row.want)
			}
		})
	}
}

func TestAzureNTLMMessages(t *testing.T) {
	t.Parallel()
	first, err := ntlmssp.NewNegotiateMessage("", "")
	if err != nil {
		t.Fatal(err)
	}
	offered, err := negotiateFlags(first)
	if err != nil {
		t.Fatal(err)
	}
	var nonce [challengeSize]byte
	copy(nonce[:], "8 bytes.")
	for _, user := range []string{`LAB\Admin`, "admin@lab.test", "admin"} {
		challenge := challenger{computer: "SRV1", domain: "LAB"}.message(offered, nonce, testTime)
		third, err := ntlmssp.NewAuthenticateMessage(challenge, user, "Pa$$ wörd:1", nil)
		if err != nil {
			t.Fatal(err)
		}
		a, err := parseAuthenticate(third)
		if err != nil {
			t.Fatal(err)
		}
		if !a.proves(nonce, "Pa$$ wörd:1") || a.proves(nonce, "wrong") || a.proves([challengeSize]byte{}, "Pa$$ wörd:1") {
			t.Errorf("%s: proof misjudged", user)
		}
	}
}
