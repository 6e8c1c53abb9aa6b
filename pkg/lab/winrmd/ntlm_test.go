package winrmd

import (
	"encoding/binary"
	"encoding/hex"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var testTime = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// The values of MS-NLMP 4.2: User, Domain, Password, server challenge
// 0123456789abcdef, client challenge aaaaaaaaaaaaaaaa, time 0.
func TestNTLMv2AgainstTheSpecification(t *testing.T) {
	t.Parallel()
	if got := hex.EncodeToString(ntHash("Password")); got != "a4f49c406510bdcab6824ee7c30fd852" {
		t.Errorf("NT hash %s", got)
	}
	blob, _ := hex.DecodeString("01010000000000000000000000000000aaaaaaaaaaaaaaaa0000000002000c0044006f006d00610069006e00" +
		"01000c005300650072007600650072000000000000000000")
	proof, _ := hex.DecodeString("68cd0ab851e51c96aabc927bebef6a1c")
	a := ntlmAnswer{user: "User", domain: "Domain", proof: proof, blob: blob}
	var challenge [challengeSize]byte
	binary.BigEndian.PutUint64(challenge[:], 0x0123456789abcdef)
	if !a.proves(challenge, "Password") || a.proves(challenge, "password") {
		t.Error("proof misjudged")
	}
}

func TestAChallengeHoldsOnlyFlagsThatWereOffered(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		offered := rapid.Uint32().Draw(t, "offered")
		m := challenger{computer: "SRV1", domain: "LAB"}.message(offered, [challengeSize]byte{}, testTime)
		const own = flagNTLM | flagTargetInfo | flagTargetDomain
		if got := binary.LittleEndian.Uint32(m[20:]); got&^(offered|own) != 0 {
			t.Fatalf("flags %08x were not offered", got&^(offered|own))
		}
	})
}

func FuzzParseAuthenticate(f *testing.F) {
	f.Add([]byte("NTLMSSP\x00\x03\x00\x00\x00"))
	f.Add(append([]byte("NTLMSSP\x00\x03\x00\x00\x00"), make([]byte, 120)...))
	f.Fuzz(func(t *testing.T, m []byte) {
		if a, err := parseAuthenticate(m); err == nil && (a.user == "" || len(a.proof) != proofSize) {
			t.Errorf("half an answer: %+v", a)
		}
		_, _ = negotiateFlags(m)
	})
}

func FuzzParseEnvelope(f *testing.F) {
	f.Add([]byte(`<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Header><a>b</a></s:Header><s:Body/></s:Envelope>`))
	f.Fuzz(func(_ *testing.T, b []byte) {
		e, err := parseEnvelope(b)
		if err != nil {
			return
		}
		e.timeout()
		e.room()
		e.shellID()
	})
}

func TestDurations(t *testing.T) {
	t.Parallel()
	rows := []struct {
		text string
		want time.Duration
		ok   bool
	}{
		{"PT20S", 20 * time.Second, true},
		{"PT60.000S", time.Minute, true},
		{"P0DT0H1M0S", time.Minute, true},
		{"PT0.5S", time.Second / 2, true},
		{"P99999D", 365 * 24 * time.Hour, true},
		{"20", 0, false},
		{"", 0, false},
	}
	for _, row := range rows {
		if got, ok := parseDuration(row.text); got != row.want || ok != row.ok {
			t.Errorf("%q: %v %v", row.text, got, ok)
		}
	}
}
