package winrmd

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/md5" //nolint:gosec // NTLMv2 is defined with it
	"encoding/binary"
	"errors"
	"strings"
	"time"
	"unicode/utf16"

	"golang.org/x/crypto/md4" //nolint:gosec,staticcheck // the NT hash is defined with it
)

// NTLM's negotiate flags (MS-NLMP 2.2.2.5) that a challenge may hold.
const (
	flagUnicode        = 0x00000001
	flagOEM            = 0x00000002
	flagRequestTarget  = 0x00000004
	flagSign           = 0x00000010
	flagSeal           = 0x00000020
	flagNTLM           = 0x00000200
	flagAlwaysSign     = 0x00008000
	flagTargetDomain   = 0x00010000
	flagTargetServer   = 0x00020000
	flagExtendedSecure = 0x00080000
	flagTargetInfo     = 0x00800000
	flagVersion        = 0x02000000
	flag128            = 0x20000000
	flagKeyExchange    = 0x40000000
	flag56             = 0x80000000
)

// echoed are the flags that go back when, and only when, the client asked.
const echoed = flagUnicode | flagRequestTarget | flagSign | flagSeal | flagAlwaysSign | flagExtendedSecure |
	flagVersion | flag128 | flagKeyExchange | flag56

// Attribute ids of a challenge's target information.
const (
	avEnd          = 0
	avComputer     = 1
	avDomain       = 2
	avDNSComputer  = 3
	avDNSDomain    = 4
	avTimestamp    = 7
	challengeSize  = 8
	proofSize      = 16
	minBlob        = 28
	windowsEpoch   = 116444736000000000 // 1601 to 1970 in 100 ns
	challengeFixed = 56
	authFixed      = 64
)

var (
	ntlmSignature = []byte("NTLMSSP\x00")
	windowsBuild  = []byte{10, 0, 0x63, 0x45, 0, 0, 0, 15} // 10.0.17763, NTLM revision 15

	errNTLM = errors.New("malformed or unsupported NTLM message")
)

// ntlmKind is the number of a message: 1 negotiate, 3 authenticate, 0 neither.
func ntlmKind(m []byte) uint32 {
	if len(m) < 12 || !bytes.HasPrefix(m, ntlmSignature) {
		return 0
	}
	return binary.LittleEndian.Uint32(m[8:])
}

// negotiateFlags reads what a client offers. It must be one of the two character
// sets; OEM names are taken as Latin-1.
func negotiateFlags(m []byte) (uint32, error) {
	if ntlmKind(m) != 1 || len(m) < 16 {
		return 0, errNTLM
	}
	flags := binary.LittleEndian.Uint32(m[12:])
	if flags&(flagUnicode|flagOEM) == 0 {
		return 0, errNTLM
	}
	return flags, nil
}

// A challenger knows what a machine tells of itself.
type challenger struct{ computer, domain, dns string }

// message builds a CHALLENGE message.
func (c challenger) message(offered uint32, challenge [challengeSize]byte, now time.Time) []byte {
	name, kind := c.domain, uint32(flagTargetDomain)
	if name == "" {
		name, kind = c.computer, flagTargetServer
	}
	flags := flagNTLM | flagTargetInfo | offered&echoed
	target := toUTF16(strings.ToUpper(name))
	if flags&flagUnicode == 0 {
		flags |= offered & flagOEM
		target = []byte(strings.ToUpper(name))
	}
	info := c.targetInfo(now)
	if offered&flagRequestTarget != 0 {
		flags |= kind
	}
	m := make([]byte, 0, challengeFixed+len(target)+len(info))
	m = append(m, ntlmSignature...)
	m = binary.LittleEndian.AppendUint32(m, 2)
	m = appendField(m, len(target), challengeFixed)
	m = binary.LittleEndian.AppendUint32(m, flags)
	m = append(m, challenge[:]...)
	m = append(m, make([]byte, 8)...)
	m = appendField(m, len(info), challengeFixed+len(target))
	m = append(m, windowsBuild...)
	m = append(m, target...)
	return append(m, info...)
}

func (c challenger) targetInfo(now time.Time) []byte {
	// A machine of no domain gives its own name in place of the domain's.
	domain, computer := c.computer, strings.ToLower(c.computer)
	dnsDomain := computer
	if c.domain != "" {
		domain = c.domain
		dnsDomain = cmp.Or(c.dns, strings.ToLower(c.domain)+".test")
		computer += "." + dnsDomain
	}
	var b []byte
	b = appendAttribute(b, avDomain, toUTF16(strings.ToUpper(domain)))
	b = appendAttribute(b, avComputer, toUTF16(strings.ToUpper(c.computer)))
	b = appendAttribute(b, avDNSDomain, toUTF16(dnsDomain))
	b = appendAttribute(b, avDNSComputer, toUTF16(computer))
	stamp := binary.LittleEndian.AppendUint64(nil, uint64(now.UnixNano()/100+windowsEpoch))
	b = appendAttribute(b, avTimestamp, stamp)
	return appendAttribute(b, avEnd, nil)
}

func appendAttribute(b []byte, id uint16, value []byte) []byte {
	b = binary.LittleEndian.AppendUint16(b, id)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(value))) //nolint:gosec // names are short
	return append(b, value...)
}

func appendField(b []byte, length, offset int) []byte {
	b = binary.LittleEndian.AppendUint16(b, uint16(length))    //nolint:gosec // names are short
	b = binary.LittleEndian.AppendUint16(b, uint16(length))    //nolint:gosec // names are short
	return binary.LittleEndian.AppendUint32(b, uint32(offset)) //nolint:gosec // a message is short
}

// An ntlmAnswer is what an AUTHENTICATE message says: who, and the proof that
// was computed from the password.
type ntlmAnswer struct {
	user, domain string
	proof, blob  []byte
}

// parseAuthenticate reads an AUTHENTICATE message. NTLMv1, LM and anonymous
// answers are errors.
func parseAuthenticate(m []byte) (ntlmAnswer, error) {
	if ntlmKind(m) != 3 || len(m) < authFixed {
		return ntlmAnswer{}, errNTLM
	}
	response, ok1 := field(m, 20)
	domain, ok2 := field(m, 28)
	user, ok3 := field(m, 36)
	if !ok1 || !ok2 || !ok3 || len(response) < proofSize+minBlob {
		return ntlmAnswer{}, errNTLM
	}
	text := fromUTF16
	if binary.LittleEndian.Uint32(m[60:])&flagUnicode == 0 {
		text = fromLatin1
	}
	a := ntlmAnswer{user: text(user), domain: text(domain), proof: response[:proofSize], blob: response[proofSize:]}
	if a.user == "" {
		return ntlmAnswer{}, errNTLM
	}
	return a, nil
}

// field returns the bytes that the length and offset at position at point to.
func field(m []byte, at int) ([]byte, bool) {
	n := int(binary.LittleEndian.Uint16(m[at:]))
	offset := int64(binary.LittleEndian.Uint32(m[at+4:]))
	if offset+int64(n) > int64(len(m)) {
		return nil, false
	}
	return m[offset : offset+int64(n)], true
}

// proves reports whether the answer was computed from password (MS-NLMP 3.3.2).
func (a ntlmAnswer) proves(challenge [challengeSize]byte, password string) bool {
	key := hmacMD5(ntHash(password), toUTF16(strings.ToUpper(a.user)+a.domain))
	return hmac.Equal(a.proof, hmacMD5(key, challenge[:], a.blob))
}

func ntHash(password string) []byte {
	h := md4.New() //nolint:gosec // the NT hash is defined with it
	_, _ = h.Write(toUTF16(password))
	return h.Sum(nil)
}

func hmacMD5(key []byte, data ...[]byte) []byte {
	h := hmac.New(md5.New, key)
	for _, d := range data {
		_, _ = h.Write(d)
	}
	return h.Sum(nil)
}

func toUTF16(s string) []byte {
	units := utf16.Encode([]rune(s))
	b := make([]byte, 0, 2*len(units))
	for _, u := range units {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

func fromLatin1(b []byte) string {
	runes := make([]rune, len(b))
	for i, c := range b {
		runes[i] = rune(c)
	}
	return string(runes)
}

func fromUTF16(b []byte) string {
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	return string(utf16.Decode(units))
}
